"""Estimates memory and a speed bound for a TPU slice you do not have."""
