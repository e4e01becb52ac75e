"""The layers that the networks share."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jaxseg.errors import InputError
from jaxseg.nn.batch_norm import BatchNorm
from jaxseg.nn.remat import computed_again
from jaxseg.ops.channel_sums import add_bias
from jaxseg.ops.conv_of_resized import Resized, conv2d_beside
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.deconvolution import deconv2d
from jaxseg.ops.late_gradient import Late, late_conv2d
from jaxseg.ops.upsampling import Upsampling


@flax.struct.dataclass
class Head:
    """One output of a network: coarse logits, and how they become logits at the image's resolution.

    Attributes:
      logits: [N, h, w, num_classes] float32.
      upsampling: the map from [h, w] to the image's [H, W].
      weight: what the head's loss counts in training; the first head's is 1.
    """

    logits: jax.Array
    upsampling: Upsampling = flax.struct.field(pytree_node=False)
    weight: float = flax.struct.field(pytree_node=False, default=1.0)

    def upsampled(self) -> jax.Array:
        """Logits at the image's resolution: [N, H, W, num_classes] float32."""
        return self.upsampling(self.logits)


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """`max(x, 0)`; its gradient, 0 at 0, needs the result alone, which the next layer keeps."""
    return jnp.maximum(x, jnp.zeros((), x.dtype))  # a plain 0 is float64 to jax2onnx


@relu.defjvp
def _relu_jvp(primals, tangents):
    (tangent,), y = tangents, relu(*primals)
    return y, jnp.where(y > 0, tangent, 0)


class ConvBlock(nn.Module):
    """A convolution or deconvolution with bias, batch norm where asked for, and ReLU.

    Without norm its parameters are the convolution's own `kernel` and `bias`. A deconvolution's
    kernel is [k, k, in, out] and not flipped (see `deconv2d`).
    """

    features: int
    kernel: int = 3
    padding: int = 1
    norm: str | None = None
    dtype: Any = jnp.float32
    strides: int = 1
    groups: int = 1  # of a convolution
    deconv: bool = False
    kernel_init: Callable = nn.initializers.he_normal()
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    bn_shift: float = 0.0  # what batch norm adds at first

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False, late: Late | None = None) -> jax.Array:
        if self.norm not in (None, "batch"):
            raise InputError(f"norm is '{self.norm}'.", "Choose None or 'batch'.")
        inputs = x.shape[-1] // self.groups
        shape = (self.kernel, self.kernel, inputs, self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.deconv:
            x = deconv2d(x, kernel, self.padding, strides=self.strides)
        elif late is not None:
            x = late_conv2d(x, kernel, late, self.padding)
        else:
            x = conv2d(x, kernel, self.padding, strides=self.strides, groups=self.groups)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = add_bias(x, bias.astype(self.dtype))
        if self.norm == "batch":
            norm = BatchNorm(self.bn_momentum, self.bn_epsilon, self.bn_shift, name="bn")
            x = norm(x, train=train)
        return tap(self, "out", relu(x))


class Score(nn.Conv):
    """A 1×1 convolution to class scores, which offers them as `out`."""

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[N, h, w, C] to [N, h, w, features]."""
        return tap(self, "out", super().__call__(inputs))


def in_turn(
    module: nn.Module, layers: Sequence[Callable], x: jax.Array, *, train: bool, remat: bool
) -> jax.Array:
    """Makes `layers` (modules' classes, named) inside `module` and applies one after the other.

    With `remat` only `x` is kept for the backward pass, where the rest is computed again.
    """

    def run(module, x):
        for layer in layers:
            x = layer(parent=module)(x, train=train)
        return x

    return (computed_again(run) if remat else run)(module, x)


def applied(name: str, function: Callable) -> Callable:
    """A function without parameters as a layer for `in_turn`, its result tapped as `name`."""
    return lambda parent: lambda x, train: tap(parent, name, function(x))


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm, and ReLU unless told otherwise.

    Its padding keeps a map's size at stride 1. Parameters are `kernel` and those of `bn`. At stride
    1 and dilation 1 it may see resized maps beside its input, as if they were joined.
    """

    features: int
    kernel: int = 1
    strides: int = 1
    dilation: int = 1
    relu: bool = True
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32
    fast_variance: bool = True  # E[x²] - E[x]², which is inexact where the mean is large

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool = False, beside: Sequence[Resized] = ()
    ) -> jax.Array:
        inputs = x.shape[-1] + sum(level.cells.shape[-1] for level in beside)
        kernel = self.param(
            "kernel",
            nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            (self.kernel, self.kernel, inputs, self.features),
        ).astype(self.dtype)
        x = x.astype(self.dtype)
        if beside:
            x = conv2d_beside(x, beside, kernel)
        else:
            padding = self.dilation * (self.kernel // 2)
            x = conv2d(x, kernel, padding, strides=self.strides, dilation=self.dilation)
        norm = BatchNorm(self.bn_momentum, fast_variance=self.fast_variance, name="bn")
        x = norm(x, train=train)
        return tap(self, "out", relu(x) if self.relu else x)


class ScoreHead(nn.Module):
    """Features to scores: 3×3 convolution, batch norm, ReLU, dropout, 1×1 convolution with bias.

    Gives [N, h, w, num_classes] float32. `dropout_mode` is "element", or "channel" to drop all of a
    channel at once. There may be several `convs` (3×3, batch norm, ReLU), and with `concat_input`
    another one, of their input and their output side by side. The first sees what is `beside` its
    input too (see `ConvNorm`).
    """

    num_classes: int
    features: int
    dropout: float = 0.1
    dropout_mode: str = "element"
    bn_momentum: float = 0.9
    dtype: Any = jnp.float32
    convs: int = 1
    concat_input: bool = False
    dilation: int = 1  # of the convs, not of the one that sees their input again

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool = False, beside: Sequence[Resized] = ()
    ) -> jax.Array:
        check_choice("dropout_mode", self.dropout_mode, ("element", "channel"))
        if self.convs < 1:
            raise InputError(f"head_convs is {self.convs}.", "Give 1 or more.")

        def conv(name, x, dilation=1, beside=()):
            layer = ConvNorm(
                self.features,
                3,
                dilation=dilation,
                bn_momentum=self.bn_momentum,
                dtype=self.dtype,
                name=name,
            )
            return layer(x, train=train, beside=beside)

        features, x = x, conv("conv", x, self.dilation, beside)
        for i in range(2, self.convs + 1):
            x = conv(f"conv{i}", x, self.dilation)
        if self.concat_input:
            x = conv("conv_concat", jnp.concatenate([features, x], axis=-1))
        together = (1, 2) if self.dropout_mode == "channel" else ()
        x = nn.Dropout(self.dropout, broadcast_dims=together, deterministic=not train)(x)
        x = Score(
            self.num_classes,
            (1, 1),
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
            dtype=self.dtype,
            name="score",
        )(x)
        return x.astype(jnp.float32)


def tap(module: nn.Module, name: str, x: jax.Array) -> jax.Array:
    """Offers an intermediate array under `name` to whoever asks for it; returns it unchanged.

    Unless the variables say which part of it belongs to each image: then the rest becomes zero.
    """
    if not module.is_initializing():  # it is no variable of the network
        x = within(x, extent(module, name))
        module.sow("features", name, x, reduce_fn=lambda _, new: new, init_fn=lambda: None)
    return x


def extent(module: nn.Module, name: str) -> jax.Array | None:
    """[N, 2] int32: rows and columns of each image in what is tapped as `name`; None: all of it.

    Images of several sizes share a batch where the collection "extents" has such an array for every
    tap (see `jaxseg.inference.padding`). The next layer then sees zeros beyond an image, as it does
    at the border of one that is alone. Max pooling would see minus infinity there, but what is
    pooled has been through a ReLU.
    """
    return module.get_variable("extents", name) if module.has_variable("extents", name) else None


def within(x: jax.Array, extent: jax.Array | None) -> jax.Array:
    """[N, h, w, C] with zeros outside of each image's rows and columns, `extent` [N, 2]."""
    if extent is None:
        return x
    rows = jnp.arange(x.shape[1])[None, :, None, None] < extent[:, 0, None, None, None]
    columns = jnp.arange(x.shape[2])[None, None, :, None] < extent[:, 1, None, None, None]
    return jnp.where(rows & columns, x, 0)


def scaled(features: int, width: float) -> int:
    """`features` times `width`, rounded, at least 1."""
    return max(1, round(features * width))


def check_choice(field: str, value: Any, choices: Iterable) -> None:
    """Raises InputError where a network's field has a value that it does not take."""
    if value not in choices:
        known = ", ".join(repr(c) for c in choices)
        raise InputError(f"{field} is {value!r}.", f"Choose one of {known}.")


def check_images(images: jax.Array) -> None:
    """Raises InputError where `images` is not a batch of normalised RGB images."""
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise InputError(
            f"The network got an array of shape {tuple(images.shape)}.",
            "Give a batch of RGB images: [N, H, W, 3].",
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"The network got {images.dtype} images.",
            "Normalise them first: jaxseg.normalize(images, model.preprocessing).",
        )


def field_names(module: Any) -> list[str]:
    """The fields of a Linen module that a caller may set."""
    return [f.name for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
