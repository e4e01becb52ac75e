"""Augmentation of the longer CamVid recipes."""

import ml_collections


def vary(augment: ml_collections.ConfigDict) -> None:
    """Rotates crops, changes their colours, and redraws those with mostly one class."""
    augment.rotation = 5.0
    augment.max_class_share = 0.75
    augment.brightness = augment.contrast = augment.saturation = 0.4
    augment.hue = augment.grayscale = 0.05


def paste_rare_classes(augment: ml_collections.ConfigDict) -> None:
    """Half of the crops receive objects of rare classes from other images."""
    augment.mix = 0.5
    augment.mix_classes = ("pole", "sign_symbol", "fence", "pedestrian", "bicyclist")
