"""Checkpoints: saving a run, finding a step, reading it back, checksums."""
