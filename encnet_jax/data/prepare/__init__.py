"""Writes data sets in the form that training reads."""
