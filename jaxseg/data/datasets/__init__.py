"""The supported data sets, one file each, with classes, colours, mask values and splits."""
