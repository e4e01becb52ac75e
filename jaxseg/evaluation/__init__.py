"""Evaluates a trained network on a data set."""
