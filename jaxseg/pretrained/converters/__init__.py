"""Converters of published weights, one file per source."""
