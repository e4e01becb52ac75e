"""Scores of a segmentation, from confusion counts that are integers and exact."""

from jaxseg.metrics.boundary import boundary_counts
from jaxseg.metrics.confusion import coarse_confusion, confusion_matrix, predict_labels, scores

__all__ = ["boundary_counts", "coarse_confusion", "confusion_matrix", "predict_labels", "scores"]
