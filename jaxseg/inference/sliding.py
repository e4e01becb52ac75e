"""PSPNet's protocol: sliding windows at several scales, optionally mirrored."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxseg.data.batches import round_up
from jaxseg.distributed.devices import local_device_count
from jaxseg.distributed.mesh import replicated, split_batch
from jaxseg.errors import InputError
from jaxseg.inference.padding import Size
from jaxseg.inference.windows import Axis, cut_windows, make_axis, scaled_size
from jaxseg.ops.byte_labels import byte_labels
from jaxseg.ops.dispatch import for_devices

_STRIP_BYTES = 2**28  # limit on the size of a strip of probabilities
_WINDOWS = 4  # default number of windows per batch


class Sliding:
    """Averages probabilities over overlapping windows, scales and mirror images.

    As in the evaluation of PSPNet's authors (section 5 of the paper): windows have the size of the
    training crops, and a stride of two thirds of it, at each scale. Probabilities are averaged
    where windows overlap, resized to the image, and averaged over the scales.

    The network processes windows of one shape, so it is compiled once for all image sizes. The
    result is computed in strips of rows: logits are kept at the network's own resolution, and only
    while a strip needs them. Memory grows with the width of the image, not with its area. With 150
    classes, six scales, mirrored, windows of 473×473 and an image 6000 pixels wide, it needs at
    most 1.9 GB on the device in addition to the network, and 0.5 GB on the host
    (`tests/inference/test_sliding_memory.py`). The result of `probabilities` has the size of the
    image, with 4 bytes per class and pixel: 14.4 GB if this image is 4000 high; `labels` takes
    24 MB.

    Args:
      model: the network.
      crop: (height, width) of the windows.
      base_size: long side of an image at scale 1; None: that of the image.
      scales: the scales.
      flip: whether to process each window mirrored too.
      fusion: details in which the authors' two releases differ. "semseg": the mean of a window's
        probabilities and its mirror's; small images padded on both sides; plain bilinear resizes.
        "caffe": the softmax of the sum of both logits; padding after the image; antialiased
        resizes, and a long side larger by one pixel. Both pad with the network's mean colour.
      batch_size: windows per batch, a multiple of this process's number of devices; None: 4, or one
        per device if there are more.
    """

    def __init__(
        self,
        model: nn.Module,
        crop: Size,
        *,
        base_size: int | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        fusion: str = "semseg",
        batch_size: int | None = None,
    ):
        self._model, self._crop, self._base_size = model, tuple(crop), base_size
        self._scales, self._caffe = tuple(scales), fusion == "caffe"
        devices = local_device_count()
        self._batch_size = batch_size or max(_WINDOWS // devices, 1) * devices
        if self._batch_size % devices:
            raise InputError(
                f"eval.batch_size is {batch_size}, which cannot be split evenly over {devices} "
                "devices.",
                f"Give a multiple of {devices}.",
            )
        mesh = Mesh(np.array(jax.local_devices()), ("data",))
        self._everywhere, self._split = replicated(mesh), split_batch(mesh)
        self._logits = jax.jit(
            for_devices(functools.partial(_window_logits, model, flip), jax.local_devices()),
            in_shardings=(self._everywhere, self._split),
            out_shardings=self._everywhere,
        )
        self._add = jax.jit(functools.partial(_add_window, self._caffe), donate_argnums=0)
        self._given = self._placed = None  # the variables of the previous image
        self._up: tuple[np.ndarray, np.ndarray] | None = None

    def named(self, name: str) -> "Sliding":
        """Returns itself; names are not needed."""
        return self

    def labels(self, variables: Any, image: np.ndarray, size: Size | None = None) -> np.ndarray:
        """The class of each pixel: uint8 [height, width]."""
        result = np.empty(size or image.shape[:2], np.uint8)
        self._run(variables, image, result, _strip_labels)
        return result

    def probabilities(
        self, variables: Any, image: np.ndarray, size: Size | None = None
    ) -> np.ndarray:
        """The probability of each class at each pixel: float32 [height, width, C]."""
        shape = (*(size or image.shape[:2]), self._model.num_classes)
        result = np.empty(shape, np.float32)
        self._run(variables, image, result, lambda strip: strip)
        return result

    def _run(self, variables: Any, image: np.ndarray, result: np.ndarray, reduce: Callable) -> None:
        """Fills `result` with `reduce(probabilities)`, strip by strip."""
        height, width = result.shape[:2]
        classes = self._model.num_classes
        if variables is not self._given:
            self._given, self._placed = variables, jax.device_put(variables, self._everywhere)
        variables = self._placed
        padded_width = round_up((1, width), 128)[1]
        rows = 64
        while rows > 8 and 4 * rows * padded_width * classes > _STRIP_BYTES:
            rows //= 2
        plans = [
            self._plan(image.shape[:2], (height, width), padded_width, rows, scale)
            for scale in self._scales
        ]
        pending = self._window_batches(variables, image, plans, height, rows)
        logits: dict[tuple[int, int, int], tuple[jax.Array, int]] = {}
        up = self._upsampling(variables)
        previous = None
        for first in range(0, height, rows):
            strip = jnp.zeros((rows, padded_width, classes), jnp.float32)
            last = min(first + rows, height)
            for number, plan in enumerate(plans):
                touched = plan.rows.touched(first, last)
                for stale in [k for k in logits if k[0] == number and k[1] < touched[0]]:
                    del logits[stale]
                for i in touched:
                    begin, above = plan.rows.part(i, first, last, plan.reach)
                    above = np.pad(above, ((0, rows - len(above)), (0, 0))) / len(plans)
                    for j, (left, across) in enumerate(plan.across):
                        while (number, i, j) not in logits:
                            logits.update(next(pending))
                        batch, slot = logits[number, i, j]
                        down = (begin, above)
                        strip = self._add(strip, batch, slot, *up, *down, left, across)
            if previous is not None:  # reads it while the device computes this strip
                _write(result, *previous)
            previous = first, last, reduce(strip)
        if previous is not None:
            _write(result, *previous)

    def _plan(
        self, image: Size, result: Size, padded_width: int, rows: int, scale: float
    ) -> "_Plan":
        scaled = scaled_size(image, scale, self._base_size, self._caffe)
        down, across = (
            make_axis(image[i], scaled[i], result[i], self._crop[i], caffe=self._caffe)
            for i in (0, 1)
        )
        # Lengths are rounded up, so that images of similar sizes share compiled programs.
        reach = min(round_up((down.reach(rows, result[0]), 1), 16)[0], self._crop[0])
        spans = [across.results(j) for j in range(len(across.starts))]
        length = max(stop - start for start, stop in spans)
        length = min(round_up((length, 1), 64)[0], padded_width)
        parts = []
        for j, (start, stop) in enumerate(spans):
            left = min(start, padded_width - length)
            matrix = np.zeros((length, self._crop[1]), np.float32)
            matrix[start - left : stop - left] = across.part(j, start, stop, self._crop[1])[1]
            parts.append((left, jnp.asarray(matrix)))
        return _Plan(down, across, reach, parts)

    def _window_batches(
        self, variables: Any, image: np.ndarray, plans: Sequence["_Plan"], height: int, rows: int
    ) -> Iterator[dict[tuple[int, int, int], tuple[jax.Array, int]]]:
        """The logits of all windows in the order in which strips need them, batch by batch.

        Yields:
          For each (scale, row, column) of a window, a batch of logits and the window's index in it.
        """
        fill = np.asarray(self._model.preprocessing.mean, np.float32)
        rounded = self._caffe and self._model.preprocessing.dtype != "float32"
        batch = np.zeros((self._batch_size, *self._crop, len(fill)), np.float32)
        keys: list[tuple[int, int, int]] = []
        done = [0] * len(plans)
        for first in range(0, height, rows):
            for number, plan in enumerate(plans):
                stop = plan.rows.touched(first, min(first + rows, height)).stop
                for i in range(done[number], stop):
                    windows = cut_windows(image, plan.rows, plan.columns, i, fill, rounded)
                    for j, window in enumerate(windows):
                        batch[len(keys)] = window
                        keys.append((number, i, j))
                        if len(keys) == self._batch_size:
                            yield self._scored(variables, batch, keys)
                            batch, keys = np.zeros_like(batch), []
                done[number] = max(done[number], stop)
        if keys:
            yield self._scored(variables, batch, keys)

    def _scored(self, variables, batch, keys):
        # Put on devices first: with several processes, jit accepts no NumPy array for sharding.
        logits = self._logits(variables, jax.device_put(batch, self._split))
        logits = logits.addressable_data(0)  # one device sums them
        return {key: (logits, slot) for slot, key in enumerate(keys)}

    def _upsampling(self, variables: Any) -> tuple[np.ndarray, np.ndarray]:
        """The upsampling matrices from a window's logits to its pixels."""
        if self._up is None:
            channels = self._model.preprocessing.channels
            images = jax.ShapeDtypeStruct((1, *self._crop, channels), jnp.float32)
            run = functools.partial(self._model.apply, method="heads")
            head = jax.eval_shape(run, variables, images)[0]
            rows, columns = head.upsampling.matrices()
            self._up = jnp.asarray(rows), jnp.asarray(columns)
        return self._up


class _Plan(NamedTuple):
    """The windows and strips of an image at one scale."""

    rows: Axis
    columns: Axis
    reach: int  # maximum number of rows of a window that a strip reads
    across: list[tuple[int, jax.Array]]  # per column of windows: first result, [results, width]


def _window_logits(model: nn.Module, flip: bool, variables, windows: jax.Array) -> jax.Array:
    """Coarse logits [N, 1 or 2, h, w, C] of windows [N, H, W, channels]: plain, then mirrored."""
    mean, std = (jnp.asarray(v) for v in (model.preprocessing.mean, model.preprocessing.std))
    images = (windows - mean) / std
    if flip:
        images = jnp.stack([images, images[:, :, ::-1]], axis=1).reshape(-1, *images.shape[1:])
    head = model.apply(variables, images, method="heads")[0]
    return head.logits.reshape(len(windows), -1, *head.logits.shape[1:])


def _add_window(
    sum_logits: bool,
    strip: jax.Array,
    logits: jax.Array,
    slot: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    begin: jax.Array,
    above: jax.Array,
    left: jax.Array,
    across: jax.Array,
) -> jax.Array:
    """Adds a window's probabilities to a strip of the result.

    Args:
      sum_logits: whether to add the logits of a window and its mirror, or average probabilities.
      strip: [R, W, C] float32.
      logits: [N, 1 or 2, h, w, C]; window `slot` is added.
      rows, columns: its upsampling, [height, h] and [width, w].
      begin, above: the first row of the window to read, and the [R, rows read] matrix to the
        strip's rows.
      left, across: the first column of the strip to add to, and the [columns, width] matrix.
    """
    dot = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    window = jax.lax.dynamic_index_in_dim(logits, slot, keepdims=False)
    rows = jax.lax.dynamic_slice_in_dim(rows, begin, above.shape[1])
    columns = jnp.stack([columns, columns[::-1]][: len(window)])
    window = dot("fxw,fywc->fyxc", columns, dot("yh,fhwc->fywc", rows, window))
    if sum_logits:
        likely = jax.nn.softmax(window.sum(axis=0))
    else:
        likely = jax.nn.softmax(window).mean(axis=0)
    part = dot("qx,rxc->rqc", across, dot("ry,yxc->rxc", above, likely))
    place = (jnp.int32(0), left, jnp.int32(0))
    old = jax.lax.dynamic_slice(strip, place, part.shape)
    return jax.lax.dynamic_update_slice(strip, old + part, place)


@jax.jit
def _strip_labels(strip: jax.Array) -> jax.Array:
    return byte_labels(strip)


def _write(result: np.ndarray, first: int, last: int, strip: jax.Array) -> None:
    result[first:last] = np.asarray(strip)[: last - first, : result.shape[1]]
