"""Labels every pixel of images with a trained network, in Python or from files."""
