"""Makes batches: selects the examples of each step, and decodes and augments them."""
