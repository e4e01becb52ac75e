"""Metrics of a segmentation, from exact integer confusion counts."""

from jaxseg.metrics.boundary import boundary_counts
from jaxseg.metrics.confusion import coarse_confusion, confusion_matrix, predict_labels, scores

__all__ = ["boundary_counts", "coarse_confusion", "confusion_matrix", "predict_labels", "scores"]
