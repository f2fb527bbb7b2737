"""Makes figures, tables and HTML pages of runs."""
