"""Self-test: compares results on this machine with stored results from a CPU."""
