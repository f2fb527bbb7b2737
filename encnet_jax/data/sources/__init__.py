"""Reads and decodes stored examples: prepared records, folders, arrays."""
