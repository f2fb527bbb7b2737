"""Compares results on this machine with those of a CPU, forward to checkpoint."""
