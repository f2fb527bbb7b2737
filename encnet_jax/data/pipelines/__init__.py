"""Makes batches: selects the examples of each step, decodes and augments them."""
