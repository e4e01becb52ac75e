"""Losses by name, as configs give them."""

import inspect
from collections.abc import Callable, Sequence

import jax

from jaxseg.errors import InputError, nearest
from jaxseg.losses.hard_pixels import ohem
from jaxseg.losses.lovasz_softmax import lovasz
from jaxseg.losses.overlap import dice
from jaxseg.losses.pixelwise import cross_entropy, focal

LOSSES: dict[str, Callable[..., jax.Array]] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "focal": focal,
    "lovasz": lovasz,
    "ohem": ohem,
}

TAKES = {
    "cross_entropy": ("reduction", "smoothing"),
    "dice": (),
    "focal": ("reduction", "gamma"),
    "lovasz": (),
    "ohem": ("threshold", "share", "smoothing"),
}
"""The fields of each loss in addition to `ignore_label` and `class_weights`, which all have."""


def names_in(name: str) -> list[str]:
    """The names of the losses in a sum such as "cross_entropy+dice".

    Raises:
      InputError: an unknown loss, or a loss that occurs twice.

    >>> names_in("cross_entropy+dice")
    ['cross_entropy', 'dice']
    """
    names = name.split("+")
    for one in names:
        if one not in LOSSES:
            raise InputError(f"There is no loss {one!r}.", nearest(one, LOSSES))
    if len(set(names)) < len(names):
        raise InputError(f"The loss {name!r} contains a loss twice.", "Name each once.")
    return names


def named_loss(
    name: str = "cross_entropy",
    *,
    ignore_label: int = 255,
    class_weights: Sequence[float] | None = None,
    **fields,
) -> Callable[..., jax.Array]:
    """Returns a loss by name, or the sum of several: "cross_entropy+dice".

    Args:
      name: names in `LOSSES`, joined by "+"; each has weight 1.
      ignore_label: the label of ignored pixels.
      class_weights: weight of each class.
      fields: other arguments; each loss gets those that it accepts. A field that none of them
        accepts must have its default.

    Returns:
      A function (coarse_logits, labels, upsample) that returns a float32 scalar.

    Raises:
      InputError: there is no such loss or field, or a field has no effect on this loss.

    >>> import jax.numpy as jnp
    >>> loss = named_loss("cross_entropy+dice", smoothing=0.1)
    >>> round(float(loss(jnp.zeros([1, 2, 2, 2]), jnp.zeros([1, 2, 2], int), None)), 4)
    1.0265
    """
    _check_fields(name, fields)
    parts = [
        (LOSSES[one], {field: fields[field] for field in TAKES[one] if field in fields})
        for one in names_in(name)
    ]

    def loss(coarse_logits, labels, upsample=None):
        return sum(
            part(
                coarse_logits,
                labels,
                upsample,
                ignore_label=ignore_label,
                class_weights=class_weights,
                **own,
            )
            for part, own in parts
        )

    return loss


def _check_fields(name: str, fields: dict) -> None:
    """Raises InputError for a field that no loss has, or that has no effect here."""
    users: dict[str, list[str]] = {}
    for one, taken in TAKES.items():
        for field in taken:
            users.setdefault(field, []).append(one)
    known = ["name", "ignore_label", "class_weights", *users]
    for field, value in fields.items():
        if field not in users:
            raise InputError(f"A loss has no field {field!r}.", nearest(field, known))
        default = inspect.signature(LOSSES[users[field][0]]).parameters[field].default
        if value != default and not set(users[field]) & set(names_in(name)):
            raise InputError(
                f"The loss field {field!r} is {value!r}, which has no effect for {name!r}.",
                f"Only {' and '.join(map(repr, users[field]))} use it; remove it.",
            )
