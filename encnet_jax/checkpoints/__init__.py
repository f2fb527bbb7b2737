"""Saves, selects, reads and verifies the checkpoints of runs."""
