"""Small helpers that are independent of segmentation."""
