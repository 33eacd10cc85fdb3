"""ML programs and neural networks of Core ML: their packages read and written, and evaluated with no Mac."""
