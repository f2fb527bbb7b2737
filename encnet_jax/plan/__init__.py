"""Estimates memory use and the largest possible speed of a run on a TPU slice.

A slice is a set of connected TPU chips. No TPU is needed, because programs are only
compiled for the slice and not run.
"""
