"""Default class colours can be told apart, also with colour vision deficiencies."""

import numpy as np

from jaxseg.data.colours import distinct_colours

# Perceived colour in linear RGB: Machado, Oliveira and Fernandes (2009), severity 1
SEEN = {
    "all": np.eye(3),
    "protanopes": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopes": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def cielab(colours, seen):
    c = np.asarray(colours) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ np.transpose(seen)
    xyz = np.clip(linear, 0, 1) @ XYZ.T / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def test_the_first_are_far_apart_for_all_eyes_and_pages():
    colours = [*distinct_colours(16)[1:], (255, 255, 255), (21, 23, 26), (235, 235, 235)]
    for who, seen in SEEN.items():
        lab = cielab(colours, seen)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[:-3]
        apart = apart[~np.eye(len(colours), dtype=bool)[:-3]]
        assert apart.min() > 13, who


def test_255_classes_have_255_colours():
    assert len(set(distinct_colours(255))) == 255
    assert distinct_colours(255)[:5] == distinct_colours(5)
