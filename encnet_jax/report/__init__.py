"""Figures, tables and HTML pages of runs."""
