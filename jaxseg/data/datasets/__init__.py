"""The data sets that have a name: a file for each, with classes, colours, values and splits."""
