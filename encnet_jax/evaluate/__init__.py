"""Scores a checkpoint and writes a report, or an archive for a test server."""
