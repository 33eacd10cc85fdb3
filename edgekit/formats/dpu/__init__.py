"""What AMD's DPUs can run and how they compute, and the compiler that makes an .xmodel for them."""
