"""The input normalisation of each network: mean and std of its published weights."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxseg.errors import InputError
from jaxseg.nn.fields import check_choice
from jaxseg.ops.checks import as_pixels
from jaxseg.utils.image_kind import RGB, ImageKind


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """An input normalisation `(image - mean) / std`, with a mean and a std per channel.

    Attributes:
      mean, std: in pixel units: 0..255 for 8-bit RGB images.
      dtype: dtype of the pixels: "uint8", "uint16" or "float32".
    """

    mean: tuple[float, ...]
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    dtype: str = "uint8"

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.mean)

    @property
    def fill(self) -> tuple[float, ...]:
        """The mean as a pixel value: rounded for integer pixels."""
        return self.mean if self.dtype == "float32" else tuple(round(v) for v in self.mean)

    def described(self) -> dict:
        """A dict for JSON, as stored in the folder of a network."""
        numbers = {"mean": self.mean, "std": self.std}
        if (self.channels, self.dtype) == (RGB.channels, RGB.dtype):
            return {"channels": "RGB", **numbers}
        return {"channels": self.channels, "dtype": self.dtype, **numbers}


CAFFE_VGG = Preprocessing(mean=(122.67891434, 116.66876762, 104.00698793))
"""RGB minus the ILSVRC mean, unscaled: the released FCN and DeconvNet (which store BGR)."""

IMAGENET = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
"""The mean and std of torchvision's networks, and of semseg's PSPNet."""

CAFFE_PSPNET = Preprocessing(mean=(123.68, 116.779, 103.939))
"""RGB minus the ILSVRC mean, unscaled: the released Caffe PSPNet (which takes BGR)."""

NORMALIZATIONS = {
    "caffe_vgg": CAFFE_VGG,
    "caffe_vgg_rounded": Preprocessing(mean=(123.0, 117.0, 104.0)),  # torchvision's Caffe VGG16
    "caffe_pspnet": CAFFE_PSPNET,
    "imagenet": IMAGENET,
}
"""The values of a network's field `normalization`."""


def chosen(normalization: str | None, published: Preprocessing) -> Preprocessing:
    """The preprocessing named by a network's field `normalization`; None: `published`.

    Raises:
      InputError: an unknown name.

    >>> chosen("imagenet", published=CAFFE_VGG) == IMAGENET
    True
    """
    check_choice("normalization", normalization, (None, *NORMALIZATIONS))
    return published if normalization is None else NORMALIZATIONS[normalization]


def fitted(
    photographs: Preprocessing,
    kind: ImageKind,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Preprocessing:
    """Adapts a normalisation of 8-bit RGB images to images of another kind.

    The result maps each channel to the range that the weights expect. Given the mean and std of the
    data, each channel gets the mean and std that photographs have after `photographs`: about 0 and
    1, or about 0 and 58 for weights without a std. Otherwise, the full integer range of a channel
    is treated like that of a photograph.

    Args:
      photographs: the normalisation that the weights expect for 8-bit RGB images.
      kind: kind of the images.
      mean, std: mean and std of each channel over the data, in pixel units; both or neither.

    Raises:
      InputError: the number of values is not the number of channels, only one of mean and std is
        given, or float images have neither.

    >>> fitted(IMAGENET, ImageKind(1, 8)).mean
    (114.495,)
    >>> fitted(CAFFE_VGG, ImageKind(2, 16), (300.0, 900.0), (57.63, 115.26)).std
    (1.0, 2.0)
    """
    if (mean is None) != (std is None):
        raise InputError(
            f"Only {'std' if mean is None else 'mean'} is given, not both mean and std.",
            "Give both, as printed by `python -m jaxseg check`, or neither.",
        )
    if mean is not None and std is not None:
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != kind.channels:
                raise InputError(
                    f"{name} has {len(values)} numbers for {kind.channels} channels.",
                    "Give one for each channel, as printed by `python -m jaxseg check`.",
                )
        natural = sum(IMAGENET.std) / 3
        unit = sum(photographs.std) / 3 / natural
        scaled = tuple(float(f"{v * unit:.7g}") for v in std)
        return Preprocessing(tuple(map(float, mean)), scaled, kind.dtype)
    if kind == RGB:
        return photographs
    if kind.top is None:
        raise InputError(
            "Float images need a mean and a std for each channel, because they have no fixed "
            "range.",
            "Set config.data.mean and config.data.std; `python -m jaxseg check` prints both.",
        )
    unit = kind.top / 255
    mean, std = (tuple(v * unit for v in values) for values in (photographs.mean, photographs.std))
    if kind.channels != 3:
        mean, std = ((sum(values) / 3,) * kind.channels for values in (mean, std))
    return Preprocessing(mean, std, kind.dtype)


def normalize(rgb: ArrayLike, preprocessing: Preprocessing) -> jax.Array:
    """Normalises images for a network.

    Args:
      rgb: [..., 3] uint8, channels in RGB order; for other kinds of images, the dtype and the
        number of channels of `preprocessing`.
      preprocessing: the network's `model.preprocessing`.

    Returns:
      The same shape, float32.

    Raises:
      InputError: another dtype (the array may be normalised already) or number of channels, or
        `preprocessing` is not a `Preprocessing`.

    >>> normalize(jnp.zeros([1, 2, 2, 3], jnp.uint8), CAFFE_VGG)[0, 0, 0].astype(int).tolist()
    [-122, -116, -104]
    """
    if not isinstance(preprocessing, Preprocessing):
        raise InputError(
            f"{preprocessing!r} is no preprocessing.", "Give the network's: model.preprocessing."
        )
    rgb, dtype, channels = as_pixels(rgb), preprocessing.dtype, preprocessing.channels
    if rgb.dtype != jnp.dtype(dtype) or rgb.ndim < 1 or rgb.shape[-1] != channels:
        photographs = (channels, dtype) == (RGB.channels, RGB.dtype)
        raise InputError(
            f"normalize got {rgb.dtype} of shape {tuple(rgb.shape)}.",
            "Give uint8 RGB images, [..., 3], not yet normalised."
            if photographs
            else f"Give {dtype} images with {channels} channels, [..., {channels}], not yet "
            "normalised, as the network expects.",
        )
    mean, std = jnp.asarray(preprocessing.mean), jnp.asarray(preprocessing.std)
    return (jnp.asarray(rgb).astype(jnp.float32) - mean) / std
