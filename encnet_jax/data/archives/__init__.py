"""Reads the published files of data sets from folders and archives."""
