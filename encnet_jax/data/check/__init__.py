"""Surveys splits, checks that a network can learn from them, computes class weights."""
