"""From logits to labels under a protocol, from labels to a confusion matrix."""
