"""Annotations as labelling tools write them: one file a format, one rasteriser.

A reader (`coco.read`, `labelme.read`, ...) takes a folder and makes `shapes.Annotations`: for each
image its shapes, as (class name, region, crowd), the lowest first. `listing.annotated` numbers the
classes and makes the same listing of it that a folder of masks has; `drawing.Drawing` is the mask.
"""
