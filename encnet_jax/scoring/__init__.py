"""Evaluates networks: predicts class ids and compares them with the labels."""
