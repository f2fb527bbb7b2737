"""Converts published data sets to the records that training reads."""
