"""Labels images of any size with a trained network: from Python, or files to files."""
