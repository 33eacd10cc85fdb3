"""What Coral's Edge TPU can run, and the compiler that maps a .tflite file to it."""
