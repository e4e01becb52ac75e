"""Generated scenes: overlapping shapes of textured paper on a patterned ground.

They need no download. A network must learn shapes and textures to label them: colours correlate
with classes but do not determine them.
"""

import colorsys
from collections.abc import Callable

import numpy as np

from jaxseg.data.source import IGNORE, DataInfo, Example
from jaxseg.errors import InputError

_BORDER = 0.8  # width in pixels of the ignored border on each side of an outline
_STREAMS = {"train": 0, "eval": 1}
_PALETTE = (
    (43, 48, 59),
    (239, 103, 96),
    (247, 190, 87),
    (104, 187, 120),
    (80, 156, 214),
    (172, 120, 200),
)


class Scenes:
    """`count` scenes; scene i depends only on (seed, stream, i).

    Args:
      seed: 0 or above.
      count: number of scenes, 1 or above.
      size: (height, width) in pixels, 16 or above.
      num_classes: 2 to 6, including the ground.
      stream: "train" or "eval": two streams of one seed share no scene.

    Raises:
      InputError: a value is out of its range.

    >>> scenes = Scenes(seed=0, count=10, size=(64, 96))
    >>> image, label, name = scenes[3]
    >>> image.shape, label.shape, name
    ((64, 96, 3), (64, 96), 'train-0-3')
    """

    def __init__(
        self,
        seed: int,
        count: int,
        size: tuple[int, int],
        num_classes: int = 6,
        *,
        stream: str = "train",
    ):
        if seed < 0 or count < 1 or len(size) != 2 or min(size) < 16:
            raise InputError(
                f"Scenes got seed {seed}, count {count} and size {tuple(size)}.",
                "Give a seed of at least 0, a count above 0, and (height, width) of at least 16.",
            )
        if not 2 <= num_classes <= 1 + len(_SHAPES):
            raise InputError(
                f"Scenes got {num_classes} classes.",
                f"Give 2 to {1 + len(_SHAPES)}.",
            )
        if stream not in _STREAMS:
            raise InputError(f"Scenes have no stream '{stream}'.", "Choose 'train' or 'eval'.")
        self.info = DataInfo("scenes", ("ground", *_SHAPES)[:num_classes], _PALETTE[:num_classes])
        self._seed, self._count, self._stream = seed, count, stream
        self._size = int(size[0]), int(size[1])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(index)
        canvas, label, _ = self._drawn(index)
        return Example((canvas.clip(0, 1) * 255).astype(np.uint8), label, self.name(index))

    def objects(self, index: int) -> np.ndarray:
        """The number of the visible shape at each pixel, uint8 [H, W]: 1, 2, ...; 0: ground."""
        return self._drawn(index)[2]

    def _drawn(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colours, float32 [H, W, 3], mostly in 0..1; labels and objects, uint8 [H, W]."""
        rng = np.random.default_rng((self._seed, _STREAMS[self._stream], index))
        height, width = self._size
        canvas = _ground(rng, height, width)
        label, objects = np.zeros(self._size, np.uint8), np.zeros(self._size, np.uint8)
        for number in range(1, rng.integers(4, 7) + 1):
            kind = int(rng.integers(1, self.info.num_classes))
            _paste(rng, canvas, label, objects, kind, number)
        light = rng.uniform(-0.25, 0.25, 2)
        canvas *= 1 + light[0] * np.linspace(-1, 1, width, dtype=np.float32)[:, None]
        canvas *= 1 + light[1] * np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
        canvas += 0.025 * rng.standard_normal(canvas.shape, np.float32)
        return canvas, label, objects

    def name(self, index: int) -> str:
        return f"{self._stream}-{self._seed}-{index}"

    def size(self, index: int) -> tuple[int, int]:
        return self._size


def _ground(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A light or dark ground of any hue with long soft waves: float32 [H, W, 3] in 0..1."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = np.zeros((height, width), np.float32)
    for angle, length, phase in rng.uniform((0, 18, 0), (np.pi, 50, 2 * np.pi), (3, 3)):
        waves += np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / length) + phase)
    hue, value = rng.random(), rng.uniform(0.45, 0.95)
    return _mix(_rgb(hue, 0.12, value), _rgb(hue + 0.1, 0.25, value * 0.75), waves / 3)


def _paste(
    rng: np.random.Generator,
    canvas: np.ndarray,
    label: np.ndarray,
    objects: np.ndarray,
    index: int,
    number: int,
):
    """Draws a shape of class `index` over the scene, with its shadow and ignored border."""
    outline, texture, hue = list(_SHAPES.values())[index - 1]
    height, width = label.shape
    radius = min(height, width) * rng.uniform(0.17, 0.27)
    centre_y, centre_x = rng.uniform(0.1, 0.9) * height, rng.uniform(0.1, 0.9) * width
    reach = int(radius * 1.45) + 5
    rows = slice(max(int(centre_y) - reach, 0), int(centre_y) + reach)
    columns = slice(max(int(centre_x) - reach, 0), int(centre_x) + reach)
    y, x = np.mgrid[
        rows.start : min(rows.stop, height), columns.start : min(columns.stop, width)
    ].astype(np.float32)
    y, x = y - np.float32(centre_y), x - np.float32(centre_x)
    turn, wave = rng.uniform(0, 2 * np.pi), 2 * np.pi / (radius * rng.uniform(0.36, 0.5))
    u = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    v = y * np.float32(np.cos(turn)) - x * np.float32(np.sin(turn))

    distance = outline(u, v, np.float32(radius))  # in pixels; negative inside the outline
    hue = rng.random() if rng.random() < 0.15 else hue + rng.normal(0, 0.06)
    saturation, value = rng.uniform(0.45, 0.85), rng.uniform(0.75, 1.0)
    light, dark = (
        _rgb(hue, saturation, value),
        _rgb(hue + 0.03, saturation, value * rng.uniform(0.4, 0.6)),
    )
    paper = _mix(light, dark, texture(u * np.float32(wave), v * np.float32(wave)))
    shadow = 1 - 0.45 * (1 - distance / 5).clip(0, 1)
    cover = (0.5 - distance).clip(0, 1)[..., None]
    canvas[rows, columns] = canvas[rows, columns] * shadow[..., None] * (1 - cover) + paper * cover
    labels = label[rows, columns]
    labels[distance < 0] = index
    labels[np.abs(distance) < _BORDER] = IGNORE
    objects[rows, columns][distance < 0] = number


def _disc(u, v, radius):
    return np.hypot(u, v) - radius


def _square(u, v, radius):
    return np.maximum(np.abs(u), np.abs(v)) - 0.88 * radius


def _triangle(u, v, radius):
    return np.maximum(0.866 * np.abs(u) + 0.5 * v, -v) - 0.62 * radius


def _ring(u, v, radius):
    return np.abs(np.hypot(u, v) - 0.78 * radius) - 0.3 * radius


def _cross(u, v, radius):
    u, v, arm = np.abs(u), np.abs(v), 0.36 * radius
    return np.minimum(np.maximum(u - arm, v - radius), np.maximum(v - arm, u - radius))


# class: its outline, its texture (values in -1..1 from positions in radians), its usual hue
_SHAPES: dict[str, tuple[Callable, Callable, float]] = {
    "disc": (_disc, lambda u, v: np.cos(np.hypot(u, v)), 0.00),
    "square": (_square, lambda u, v: np.sign(np.sin(u) * np.sin(v)), 0.14),
    "triangle": (_triangle, lambda u, v: np.sin(v), 0.36),
    "ring": (_ring, lambda u, v: np.sin(6 * np.arctan2(v, u)), 0.58),
    "cross": (_cross, lambda u, v: 2 * (np.cos(u) * np.cos(v)).clip(0, 1) - 1, 0.79),
}


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`first` where `weight` is 1, `second` where it is -1: [3], [3], [H, W] -> [H, W, 3]."""
    return second + (first - second) * (0.5 + 0.5 * weight[..., None])
