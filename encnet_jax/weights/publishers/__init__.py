"""One module a publisher; each registers its files in PUBLISHED when it is imported."""
