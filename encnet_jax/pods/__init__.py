"""Devices, processes, signals and the folder of a run."""
