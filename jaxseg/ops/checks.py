"""Checks of arrays that are cheap where the values are known and silent where they are traced."""

import jax
import numpy as np

from jaxseg.errors import InputError


def check_labels(
    labels: jax.Array | np.ndarray, num_classes: int, ignore_label: int | None, what: str
) -> None:
    """Raises InputError where `labels` are not integers, or hold a value that is no class.

    Values are looked at only where they are known: under `jit` (a tracer) only the dtype is
    checked.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"The {what} are {labels.dtype}.", "Give integers: a class index for each pixel."
        )
    if isinstance(labels, jax.core.Tracer) or not getattr(labels, "is_fully_addressable", True):
        return
    values = np.asarray(labels)
    outside = (values < 0) | (values >= num_classes)
    if ignore_label is not None:
        outside &= values != ignore_label
    wrong = values[outside]
    if wrong.size:
        shown = ", ".join(str(v) for v in np.unique(wrong)[:5])
        if ignore_label is None:
            raise InputError(
                f"The {what} hold {shown}, which is not in 0..{num_classes - 1}.",
                "Give class indices.",
            )
        raise InputError(
            f"The {what} hold {shown}, which is neither 0..{num_classes - 1} "
            f"nor the ignore label {ignore_label}.",
            "Map them to class indices, or to the ignore label.",
        )
