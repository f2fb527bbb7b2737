"""Labels images of any size with a trained network: images in Python, or files."""
