"""Reads the published files of data sets, in folders and archives."""
