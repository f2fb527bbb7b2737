"""From a trained network to labels: in Python, and for files of any size."""
