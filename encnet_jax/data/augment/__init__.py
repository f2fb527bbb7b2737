"""Random crops, scales and colour changes: drawing their parameters, applying them."""
