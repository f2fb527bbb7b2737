"""Reads published data sets from folders and archives."""
