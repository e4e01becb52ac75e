"""Annotations of labelling tools: one file per format, and one rasteriser.

A reader (`coco.read`, `labelme.read`, ...) takes a folder and returns `shapes.Annotations`: for
each image its shapes, as (class name, region, crowd), the lowest first. `listing.annotated` numbers
the classes, and returns the same listing as for a folder of masks; `drawing.Drawing` is the mask.
"""
