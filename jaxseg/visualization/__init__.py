"""Pictures: coloured labels, rows of images, heat maps."""
