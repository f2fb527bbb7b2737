"""Readers of examples in prepared records, folders and .npz files."""
