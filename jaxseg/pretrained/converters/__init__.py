"""Published weights, one file for each source."""
