"""Compiles for TPU slices that are not there: does it fit, how fast can it be."""
