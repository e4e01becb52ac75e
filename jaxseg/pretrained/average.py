"""Averages the weights of several trained networks: a run's last checkpoints, or several runs.

Averaging checkpoints is the stochastic weight averaging of Izmailov et al. (2018). Averaging runs
from the same initial weights is the model soup of Wortsman et al. (2022). The average often has
better metrics than each of its parts.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from jaxseg.checkpoint.steps import whole_steps
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.errors import InputError
from jaxseg.pretrained.folder import changed_fields, save_exported
from jaxseg.pretrained.trained import Trained, open_trained

Source = tuple[str | os.PathLike, str | int]
"""Arguments of `open_trained`: a name or path, and the step of a workdir."""


def last_checkpoints(workdir: str | os.PathLike, count: int) -> list[Source]:
    """The newest `count` checkpoints of a run.

    Raises:
      InputError: the workdir has fewer checkpoints.
    """
    run = Workdir.existing(workdir)
    steps = whole_steps(run.checkpoints)
    if len(steps) < count:
        raise InputError(
            f"{run.path} has {len(steps)} checkpoint(s), of step {', '.join(map(str, steps))}, "
            f"not {count}.",
            "Average fewer checkpoints, or train with a larger config.checkpoint.keep_last.",
        )
    return [(run.path, step) for step in steps[-count:]]


def average(sources: Sequence[Source]) -> Trained:
    """The mean of all weights and of batch norm's running statistics.

    Args:
      sources: two or more trained networks of one kind and the same classes.

    Returns:
      The first network with the averaged variables, float32; its card lists the sources.

    Raises:
      InputError: a source cannot be opened, or the networks differ.
    """
    first, total = None, None
    for path, step in sources:
        trained = open_trained(path, step)
        values = jax.tree.map(lambda a: np.asarray(a, np.float64), dict(trained.variables))
        if first is None or total is None:
            first, total = trained, values
            continue
        _check_same(first, trained)
        total = jax.tree.map(np.add, total, values)
    if first is None or len(sources) < 2:
        raise InputError(
            "An average needs at least two networks.", "Give more workdirs, or --last 2 or higher."
        )
    mean = jax.tree.map(lambda a: np.asarray(a / len(sources), np.float32), total)
    what = ", ".join(_name(*source) for source in sources)
    card = first.card | {"step": None, "metrics": None, "source": f"the average of {what}"}
    return dataclasses.replace(first, variables=mean, card=card)


def save_average(sources: Sequence[Source], folder: str | os.PathLike) -> Trained:
    """Writes the result of `average` as a folder, which every command accepts as --weights.

    Args:
      sources: as in `average`.
      folder: the output folder; it must be empty or not exist.

    Raises:
      InputError: as `average`, or `folder` is not empty.
    """
    mean = average(sources)
    card = mean.card
    carried = {k: card[k] for k in ("data_set", "licence") if card.get(k) is not None}
    save_exported(
        folder,
        card["network"],
        mean.model,
        mean.variables,
        info=mean.info,
        eval=mean.eval,
        source={"file": card["source"], **carried},
        bands=mean.bands,
    )
    return mean


def _check_same(first: Trained, other: Trained) -> None:
    def of(trained: Trained) -> dict:
        name = trained.card["network"]
        fields = {k: v for k, v in changed_fields(name, trained.model).items() if k != "dtype"}
        return {"name": name} | fields | {"classes": trained.info.class_names}

    here, there = of(first), of(other)
    for field in sorted({*here, *there}):
        if here.get(field) != there.get(field):
            raise InputError(
                f"{first.card['path']} and {other.card['path']} are different networks: {field} "
                f"is {here.get(field)!r} in one and {there.get(field)!r} in the other.",
                "Average networks that differ only in their weights.",
            )


def _name(path: str | os.PathLike, step: str | int) -> str:
    name = pathlib.Path(path).name  # without the folders of this machine
    return f"{name} (step {step})" if isinstance(step, int) else name
