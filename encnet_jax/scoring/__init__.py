"""Scores networks: predicts class ids under a protocol, compares them with labels."""
