"""Manages the devices, the processes, the signals and the folder of a run."""
