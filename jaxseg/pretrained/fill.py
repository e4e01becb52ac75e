"""Fills a network's variables from an opened file: detects its family, checks, and reports."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxseg.errors import InputError, nearest
from jaxseg.nn.fields import check_choice
from jaxseg.pretrained.channels import is_first, spread, told
from jaxseg.pretrained.converters.registry import SOURCES
from jaxseg.pretrained.converters.source import Fit, Keep, Source, Take
from jaxseg.pretrained.report import ImportReport
from jaxseg.pretrained.tensor_file import TensorFile

_IMAGE = (224, 224)  # size supported by every network with its published fields


def fill(
    model: nn.Module,
    file: TensorFile,
    source: str | None = None,
    head: str = "keep",
    *,
    rng: jax.Array | None = None,
    image_size: tuple[int, int] | None = None,
) -> tuple[dict[str, Any], ImportReport]:
    """Fills a network from an opened file, as `jaxseg.pretrained.load` does."""
    check_choice("head", head, ("keep", "reset"))
    family = find_source(file, source)
    _check_model(model, file, family, head)
    if head == "keep":
        family.check(file, model)

    key = jax.random.key(0) if rng is None else rng
    channels = model.preprocessing.channels
    image = jax.ShapeDtypeStruct((1, *(image_size or _IMAGE), channels), jnp.float32)
    shapes = jax.eval_shape(model.init, key, image)
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    targets = {"/".join(k.key for k in path): leaf for path, leaf in leaves}

    filled, used, kept, reset = {}, {}, {}, set()
    adapted: list[str] = []
    for name, target in targets.items():
        take = family.take(file, model, name)
        if isinstance(take, Keep):
            kept[name] = take.reason
        elif head == "reset" and _is_score(name):
            kept[name] = "the scores are reset"
            reset.update(take.names)
        else:
            filled[name] = _fill(take, name, target.shape, file, adapted)
            used[name] = take.names
    filled |= _initial(model, key, image, list(kept))

    taken = {n for names in used.values() for n in names}
    unused = {
        n: "the scores are reset" if n in reset else family.unused(file, model, n)
        for n in file.tensors
        if n not in taken
    }
    notes = (*file.notes, *family.notes, *adapted)
    report = ImportReport(str(file.path), family.title, used, kept, unused, notes, family.licence)
    return jax.tree_util.tree_unflatten(tree, [filled[n] for n in targets]), report


def fitting(file: TensorFile, model: str | None = None, source: str | None = None) -> Fit:
    """The network that fits an opened file; see `jaxseg.pretrained.suggest`."""
    family = find_source(file, source)
    fits = family.fits(file)
    for fit in fits:
        if model in (None, fit.model):
            return fit
    raise InputError(
        f"{file.path} is {family.title}, which does not fit '{model}'.",
        nearest(str(model), [fit.model for fit in fits]),
    )


def find_source(file: TensorFile, name: str | None = None) -> Source:
    """The family of a file, among those with that name, if given.

    Raises:
      InputError: no family has that name, or none of them recognises the file.
    """
    known = [s for s in SOURCES if name in (None, s.name, s.name.split("_")[0])]
    if not known:
        names = {s.name for s in SOURCES} | {s.name.split("_")[0] for s in SOURCES}
        raise InputError(f"There is no source '{name}'.", nearest(str(name), names))
    for source in known:
        if source.recognises(file):
            return source
    seen = list(file.tensors)
    some = ", ".join(seen[:6]) + (", ..." if len(seen) > 6 else "")
    raise InputError(
        f"{file.path} contains {len(seen)} tensors ({some}), which match none of the files that "
        f"jaxseg can import{'' if name is None else f' from {name!r}'}.",
        f"Supported files: {'; '.join(s.title for s in known)}.",
    )


def closest_fit(fits: Sequence[Fit], model: nn.Module) -> tuple[Fit, list[str]] | None:
    """The fit with the fewest differences from `model`, and these; None: all are other networks."""
    compared = [(fit, fit.differences(model)) for fit in fits]
    alike = [(fit, found) for fit, found in compared if found is not None]
    return min(alike, key=lambda pair: len(pair[1])) if alike else None


def _check_model(model: nn.Module, file: TensorFile, family: Source, head: str) -> None:
    """Raises InputError unless the file fits `model`; the message names a network that it fits."""
    closest = closest_fit(family.fits(file), model)
    if closest is None:
        calls = " or ".join(fit.call(model.num_classes) for fit in family.fits(file))
        raise InputError(
            f"{file.path} is {family.title}, which does not fit {type(model).__name__}.",
            f"Load it into {calls}.",
        )
    fit, found = closest
    if found:
        raise InputError(
            f"{file.path} is {family.title}, which does not fit this {type(model).__name__}: "
            f"{', '.join(found)}.",
            f"Create the network with {fit.call(model.num_classes, model)}; in a config, set "
            "config.model.name and its other fields.",
        )
    if head == "keep" and fit.num_classes not in (None, model.num_classes):
        raise InputError(
            f"{file.path} has {fit.num_classes} classes, but the network has {model.num_classes}.",
            f"Create the network with num_classes={fit.num_classes}, or load with head='reset' to "
            "train new logits.",
        )


def _is_score(name: str) -> bool:
    """Whether a parameter belongs to a layer whose channels are classes."""
    return name.split("/")[-2].startswith(("score", "upscore"))


def _fill(
    take: Take, name: str, shape: tuple[int, ...], file: TensorFile, adapted: list[str]
) -> jax.Array:
    """The checked value of the parameter `name`; `adapted` receives notes on adaptations."""
    for tensor in take.names:
        if tensor not in file.tensors:
            raise InputError(
                f"{file.path} has no tensor '{tensor}', which {name} needs.",
                "Use the complete published file.",
            )
    arrays = [file.tensors[tensor] for tensor in take.names]
    from_them = " and ".join(
        f"'{t}' of shape {a.shape}" for t, a in zip(take.names, arrays, strict=True)
    )
    misfit = InputError(
        f"{name} has shape {shape} and cannot be filled from {from_them} in {file.path}.",
        "Create the network with the number of classes, the width and the other fields of the "
        "file.",
    )
    try:
        value = take.convert(*arrays)
    except (ValueError, IndexError):  # from numpy, for missing axes
        raise misfit from None
    if is_first(value, shape):
        value = spread(value, shape[2])
        adapted.append(told(name, shape[2]))
    if value.shape != shape:
        raise misfit
    value = _copied(value)
    if value.size and not np.isfinite([value.min(), value.max()]).all():
        raise InputError(
            f"{file.path} has values in {from_them} that are not finite; {name} needs them.",
            "The file is damaged; download it again, or use another one.",
        )
    return jax.device_put(value)


def _copied(value: np.ndarray) -> np.ndarray:
    """A float32 copy of `value`, which may be a view of the file.

    On the CPU, jax uses an array without copying if it is aligned to 64 bytes. Otherwise it makes
    two copies, and half a gigabyte would become one and a half.
    """
    room = np.empty(value.size + 16, np.float32)
    start = -room.ctypes.data % 64 // room.itemsize
    copy = room[start : start + value.size].reshape(value.shape)
    with np.errstate(over="ignore"):  # an overflow gives infinity, which is rejected as such
        np.copyto(copy, value, casting="unsafe")
    return copy


def _initial(model: nn.Module, key, image, names: list[str]) -> dict[str, jax.Array]:
    """The initial values of the named parameters; no other parameter is computed."""
    if not names:
        return {}

    @jax.jit
    def init(key):
        leaves = jax.tree_util.tree_leaves_with_path(
            model.init(key, jnp.zeros(image.shape, image.dtype))
        )
        every = {"/".join(k.key for k in path): leaf for path, leaf in leaves}
        return {name: every[name] for name in names}

    return init(key)
