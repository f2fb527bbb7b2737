"""Compares results on this machine with results that were computed on a CPU."""
