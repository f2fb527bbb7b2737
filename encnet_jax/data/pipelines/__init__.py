"""Makes batches: selects, decodes and augments the examples of each step."""
