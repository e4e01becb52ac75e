"""Readers of array files that never run code from a file."""
