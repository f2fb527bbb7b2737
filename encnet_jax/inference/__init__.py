"""Labels images with a trained network, in Python and from files of any size."""
