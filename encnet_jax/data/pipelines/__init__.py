"""Batches: their order, and the readers that decode, augment and prefetch."""
