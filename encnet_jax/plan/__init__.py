"""Estimates memory use and the largest possible speed of a run on an absent TPU slice.

A slice is a set of connected TPU chips. Programs are compiled for the slice, not run.
"""
