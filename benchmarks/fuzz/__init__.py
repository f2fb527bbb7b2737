"""Reads thousands of damaged files with every reader; run by `python -m`."""
