"""What a run asks of its machines: devices, processes, signals, its folder."""
