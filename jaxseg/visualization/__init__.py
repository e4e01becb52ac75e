"""Pictures: labels in colours, rows of images, heat maps."""
