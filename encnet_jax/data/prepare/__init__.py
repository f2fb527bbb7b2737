"""Converts published data sets to prepared records, which training reads."""
