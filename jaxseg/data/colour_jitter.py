"""Random changes of an image's colours, combined into one affine map of (red, green, blue)."""

from dataclasses import dataclass

import numpy as np

from jaxseg.errors import InputError

_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 weights, as in Pillow and torchvision
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclass(frozen=True)
class ColourJitter:
    """Changes brightness, contrast, saturation and hue, in this order, by random amounts.

    The amounts have the same meaning as in torchvision's `ColorJitter`. torchvision rounds and
    clips the colours after each of the four changes; here they form one affine map, and the colours
    are rounded and clipped once. The hue is rotated about the grey axis in the YIQ colour space, so
    that the brightness of a pixel does not change.

    Args:
      brightness: the factor is drawn from [1 - brightness, 1 + brightness], at least 0.
      contrast: likewise, for the distance from the image's mean grey.
      saturation: likewise, for the distance from the pixel's own grey.
      hue: the angle is drawn from [-hue, hue] turns; 0..0.5.
      grayscale: the probability of replacing the drawn saturation by 0.

    Raises:
      InputError: a value is out of its range.

    >>> image = np.full((2, 3, 3), 100, np.uint8)
    >>> ColourJitter(brightness=0.5)(image, np.random.default_rng(1))[0, 0].tolist()
    [101, 101, 101]
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError(f"augment.{name} is {getattr(self, name)}.", "Give 0 or more.")
        if not 0 <= self.hue <= 0.5:
            raise InputError(
                f"augment.hue is {self.hue}.", "Give a fraction of a full turn, 0..0.5."
            )
        if not 0 <= self.grayscale <= 1:
            raise InputError(
                f"augment.grayscale is {self.grayscale}.", "Give a probability in 0..1."
            )

    def __bool__(self) -> bool:
        """Whether any change is enabled."""
        return any(vars(self).values())

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """`image`, [H, W, C], with random colours; draws five numbers from `rng`.

        For images that do not have three channels, only brightness and contrast change; contrast is
        then the distance from each channel's own mean.
        """
        brightness, contrast, saturation, turn = self._draw(rng)
        if image.shape[2] != 3:
            mean = image.mean((0, 1), dtype=np.float32)
            factors = np.eye(image.shape[2]) * contrast * brightness
            return _affine(image, factors, (1 - contrast) * brightness * mean)
        grey = brightness * float(_GREY @ image.mean((0, 1), dtype=np.float32))
        return _affine(
            image, contrast * brightness * _mixture(saturation, turn), (1 - contrast) * grey
        )

    def matrix(self, rng: np.random.Generator) -> np.ndarray:
        """The linear map that a call with the same `rng` applies to an image of three channels.

        Returns:
          float32 [3, 6]: a colour becomes `m[:, :3] @ colour + m[:, 3:] @ mean`, where `mean` is
          the mean colour of the image.
        """
        brightness, contrast, saturation, turn = self._draw(rng)
        own = contrast * brightness * _mixture(saturation, turn)
        mean = (1 - contrast) * brightness * np.outer(np.ones(3), _GREY)
        return np.concatenate([own, mean], axis=1).astype(np.float32)

    def _draw(self, rng: np.random.Generator) -> tuple[float, float, float, float]:
        """Draws the factors of brightness, contrast and saturation, and the turn of the hue."""
        brightness, contrast, saturation = (
            rng.uniform(max(0.0, 1 - amount), 1 + amount)
            for amount in (self.brightness, self.contrast, self.saturation)
        )
        turn = rng.uniform(-self.hue, self.hue)
        if rng.random() < self.grayscale:
            saturation = 0.0
        return brightness, contrast, saturation, turn


def _mixture(saturation: float, turn: float) -> np.ndarray:
    """The matrix [3, 3] on (red, green, blue) that changes saturation, then hue."""
    colours = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _GREY)
    return _hue_turn(turn) @ colours if turn else colours


def _hue_turn(turn: float) -> np.ndarray:
    """The matrix [3, 3] on (red, green, blue) that rotates the hue by `turn` turns."""
    cosine, sine = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    rotation = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    return np.linalg.solve(_YIQ, rotation @ _YIQ)


def _affine(image: np.ndarray, matrix: np.ndarray, offset: float | np.ndarray) -> np.ndarray:
    """`matrix @ colour + offset` for every pixel; integers are rounded and clipped."""
    values = image.reshape(-1, len(matrix)).astype(np.float32) @ matrix.T.astype(np.float32)
    if image.dtype == np.float32:
        return (values + np.float32(offset)).reshape(image.shape)
    values += np.float32(offset + 0.5)  # the conversion below truncates
    np.clip(values, 0, np.iinfo(image.dtype).max, out=values)
    return values.astype(image.dtype).reshape(image.shape)
