"""Checks data sets, counts pixels and images per class, and computes class weights."""
