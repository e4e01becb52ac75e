"""Exports a trained network as a program that runs without jaxseg."""
