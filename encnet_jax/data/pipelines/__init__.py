"""Makes batches: the order of examples, and readers that decode and augment them."""
