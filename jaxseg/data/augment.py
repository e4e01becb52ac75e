"""Random geometric changes of image and label together, and random colours of the image."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxseg.data.blur import REACH
from jaxseg.data.colour_jitter import ColourJitter
from jaxseg.data.counts import value_counts
from jaxseg.data.noise import erased, with_noise
from jaxseg.data.plan import Plan, Planned
from jaxseg.data.source import IGNORE, Example
from jaxseg.data.warp import on_image, window
from jaxseg.data.warp_backends import BACKENDS, kornia, opencv
from jaxseg.data.warp_positions import sampling
from jaxseg.errors import InputError, nearest

_PADDINGS = ("random", "centre")
_CROPS = 10  # maximum number of tries for a crop that no single class dominates


class _View(NamedTuple):
    """A crop of the resized and rotated example; the fields are arguments of `window`."""

    canvas: tuple[int, int]
    start: tuple[int, int]
    size: tuple[int, int]
    angle: float
    mirrored: bool


@dataclass(frozen=True)
class Augment:
    """Resizes, scales, rotates, blurs, crops and mirrors an example.

    Image and label are sampled at the same positions in one interpolation, the image bilinearly and
    the label at the nearest pixel. A label therefore never gets a new value, except `ignore_label`
    outside the image. If size and angle do not change, pixels are copied. Shrinking does not
    average skipped pixels, unlike `resize_image`.

    The recipes of the papers, with the mean colour of the network as `fill`:

    - PSPNet: crop=(473, 473), scale=(0.5, 2), rotation=10, blur=0.5, flip=0.5, padding="centre":
      the order, probabilities and fills of the authors' second release, but one interpolation
      instead of a resize followed by a rotation.
    - FCN: the defaults; whole images without changes.
    - DeconvNet: resize=(250, 250), crop=(224, 224), flip=0.5.

    Args:
      crop: (height, width) of the result in pixels; None: the size before scaling. A scaled image
        smaller than the crop is padded with `fill`.
      scale: (lowest, highest) scale, drawn uniformly; needs `crop` unless it is (1, 1).
      flip: the probability of mirroring left and right.
      rotation: the largest angle in degrees, 0..180; the angle is drawn uniformly from both
        directions. The image is rotated about its centre and keeps its size.
      rotation_probability: the probability of rotating the image.
      blur: the probability of a Gaussian blur of 5×5 pixels, after scaling and rotating.
      resize: (height, width) to which every image is resized first, whatever its shape; None: no
        resize.
      padding: position of a smaller image in the crop: "random" or "centre".
      backend: library for interpolation: "kornia"; "pillow", which is slower; or "opencv", which is
        faster and needs the extra of that name. Their results differ by a few levels.
      fill: the colour outside the image, a number for each channel: (r, g, b), 0..255.
      ignore_label: the label outside the image.
      vertical_flip: the probability of mirroring top and bottom, before all other steps.
      quarter_turns: the probability of a rotation by 90, 180 or 270 degrees, before all other
        steps; needs `crop` or `resize`, because it swaps height and width.
      noise: the largest std of Gaussian noise, as a fraction of the value range; see `with_noise`.
      erase: the probability of erasing a rectangle; see `jaxseg.data.noise.erased`.
      max_class_share: a crop is redrawn, up to nine times, while one class has more than this share
        of its labelled pixels (mmsegmentation's `cat_max_ratio`); 1: never.
      brightness, contrast, saturation, hue, grayscale: random colours; see `ColourJitter`.

    Raises:
      InputError: a value is out of its range.

    >>> example = Example(np.zeros((5, 7, 3), np.uint8), np.zeros((5, 7), np.uint8), "a")
    >>> out = Augment(crop=(4, 4), scale=(0.5, 2.0), flip=0.5)(example, np.random.default_rng(0))
    >>> out.image.shape, out.label.shape
    ((4, 4, 3), (4, 4))
    """

    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    rotation: float = 0.0
    rotation_probability: float = 0.5
    blur: float = 0.0
    resize: tuple[int, int] | None = None
    padding: str = "random"
    backend: str = "kornia"
    fill: tuple[float, ...] = (124, 116, 104)  # the mean colour of ImageNet
    ignore_label: int = IGNORE
    vertical_flip: float = 0.0
    quarter_turns: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    max_class_share: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0

    def __post_init__(self):
        self._colours()
        for name in ("crop", "resize"):
            if getattr(self, name) is not None:
                check_size(f"augment.{name}", getattr(self, name))
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < np.inf:
            raise InputError(
                f"augment.scale is {self.scale}.",
                "Give (lowest, highest) with 0 < lowest <= highest.",
            )
        if self.crop is None and tuple(self.scale) != (1, 1):
            raise InputError(
                f"augment.scale is {self.scale} without augment.crop.",
                "Set a crop, or set the scale to (1.0, 1.0): whole images keep their size.",
            )
        if self.quarter_turns and self.crop is None and self.resize is None:
            raise InputError(
                f"augment.quarter_turns is {self.quarter_turns} without augment.crop.",
                "Set a crop: a quarter turn swaps the height and width of a whole image.",
            )
        shares = ("flip", "rotation_probability", "blur", "vertical_flip", "quarter_turns", "erase")
        for name in (*shares, "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"augment.{name} is {getattr(self, name)}.",
                    f"Give a {'probability' if name in shares else 'share of the range'} in 0..1.",
                )
        if not 0 <= self.rotation <= 180:
            raise InputError(
                f"augment.rotation is {self.rotation}.", "Give the largest angle, 0..180 degrees."
            )
        if not 0 < self.max_class_share <= 1:
            raise InputError(
                f"augment.max_class_share is {self.max_class_share}.",
                "Give a share above 0 and at most 1; 1 accepts every crop.",
            )
        for name, choices in (("padding", _PADDINGS), ("backend", BACKENDS)):
            if (value := getattr(self, name)) not in choices:
                raise InputError(f"augment.{name} is '{value}'.", nearest(value, choices))
        if self.backend in (packages := {"kornia": kornia, "opencv": opencv}):
            packages[self.backend]()

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Augments an example.

        Args:
          example: image uint8 [H, W, 3], or another `ImageKind`; label uint8 [H, W].
          rng: always draws seven numbers; before them two for vertical flips and quarter turns, and
            after them those of further crops, colours, noise and erasing, if these are enabled.

        Returns:
          An example of size `crop`; without a crop, of size `resize`; without both, of the original
          size.
        """
        example, label, view, blurred = self._drawn(example, rng)
        image = self._cut(example.image, view, blurred=blurred, fill=tuple(self.fill))
        if colours := self._colours():
            image = colours(image, rng)
        if self.noise:
            image = with_noise(image, rng, self.noise)
        if self.erase and rng.random() < self.erase:
            image, label = erased(image, label, rng, self.fill, self.ignore_label)
        return Example(image, label, example.name)

    def planned(self, example: Example, rng: np.random.Generator) -> Planned:
        """Augments the label of an example, and returns a plan for its image.

        A device that applies the plan gets the image that a call with the same `rng` returns, to
        one grey level of the backend "pillow" before the colours change; see
        `jaxseg.training.device_augment`.

        Args:
          example: image uint8 [H, W, 3]; label uint8 [H, W].
          rng: as in a call. `noise`, `erase` and `quarter_turns` must be 0.
        """
        example, label, view, blurred = self._drawn(example, rng)
        seen = example.label.shape
        where = sampling(seen, **view._asdict(), margin=REACH if self.blur else 0)
        colours = self._colours().matrix(rng) if self._colours() else None
        plan = Plan.of(seen, where, blurred, colours)
        return Planned(example.image, label, example.name, plan)

    def _drawn(
        self, example: Example, rng: np.random.Generator
    ) -> tuple[Example, np.ndarray, _View, bool]:
        """Draws a crop: the turned example, the cropped label, the crop, and whether to blur."""
        if self.vertical_flip or self.quarter_turns:
            example = self._turned(example, rng)
        size = self.resize or example.label.shape
        mirrored = rng.random() < self.flip
        scale, y, x = rng.uniform(*self.scale), rng.random(), rng.random()
        rotated, angle = rng.random() < self.rotation_probability, rng.uniform(-1, 1)
        blurred = rng.random() < self.blur
        canvas = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        crop = self.crop or size

        def view(y: float, x: float) -> _View:
            start = (
                self._place(canvas[0], crop[0], y, False),
                self._place(canvas[1], crop[1], x, mirrored),
            )
            return _View(canvas, start, crop, angle * self.rotation if rotated else 0.0, mirrored)

        seen = view(y, x)
        label = self._cut(example.label, seen, fill=self.ignore_label)
        for _ in range(_CROPS - 1):
            if self.max_class_share == 1 or self._is_mixed(label):
                break
            seen = view(rng.random(), rng.random())
            label = self._cut(example.label, seen, fill=self.ignore_label)
        return example, label, seen, blurred

    def _cut(self, pixels: np.ndarray, view: _View, **how) -> np.ndarray:
        return window(pixels, **view._asdict(), backend=self.backend, **how)

    def _turned(self, example: Example, rng: np.random.Generator) -> Example:
        """The example flipped vertically or turned by multiples of 90 degrees; copies pixels."""
        flipped, turn = rng.random() < self.vertical_flip, rng.random()
        # a number below the probability is rescaled to select one of the three turns
        turns = 1 + int(3 * turn / self.quarter_turns) if turn < self.quarter_turns else 0

        def change(pixels):
            pixels = pixels[::-1] if flipped else pixels
            return np.ascontiguousarray(np.rot90(pixels, turns))

        return Example(change(example.image), change(example.label), example.name)

    def _colours(self) -> ColourJitter:
        return ColourJitter(
            self.brightness, self.contrast, self.saturation, self.hue, self.grayscale
        )

    def _is_mixed(self, label: np.ndarray) -> bool:
        """Whether no class exceeds its maximum share of the labelled pixels."""
        counts = value_counts(label)
        counts[self.ignore_label] = 0
        return counts.max() <= self.max_class_share * counts.sum() and counts.sum() > 0

    def _place(self, canvas: int, crop: int, uniform: float, mirrored: bool) -> int:
        """The start of the crop in the canvas; negative if the crop is larger."""
        if self.padding == "centre" and crop > canvas:
            return -((crop - canvas + mirrored) // 2)  # an odd pixel is at the end after mirroring
        offset = int(uniform * (abs(canvas - crop) + 1))
        return offset if canvas >= crop else -offset


def resize_image(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """`image`, [H, W, C], resized to (height, width): [height, width, C]. None: unchanged.

    Bilinear with pixel centres at half integers; shrinking averages (antialiased). Pixels are
    uint8, uint16 or float32, and keep their dtype.

    Raises:
      InputError: `size` is not two positive integers.

    >>> resize_image(np.full((4, 6, 3), 7, np.uint8), (2, 9)).shape
    (2, 9, 3)
    """
    if size is not None:
        check_size("The size", size)
    if size is None or image.shape[:2] == tuple(size):
        return image
    width_height = size[1], size[0]
    return np.array(
        on_image(image, lambda one, _: one.resize(width_height, Image.Resampling.BILINEAR))
    )


def check_size(what: str, size: tuple[int, int]):
    """Raises InputError, naming `what`, if `size` is not two positive integers."""
    if len(size) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in size):
        raise InputError(f"{what} is {tuple(size)}.", "Give (height, width), two integers above 0.")
