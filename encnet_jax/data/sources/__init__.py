"""Reads and decodes examples from prepared records, folders and .npz files."""
