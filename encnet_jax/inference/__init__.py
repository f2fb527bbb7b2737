"""Labels images of any size with a trained network, in Python or file by file."""
