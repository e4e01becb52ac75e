"""Scoring a trained network on a data set."""
