"""Networks as files that other runtimes load."""
