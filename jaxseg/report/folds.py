"""Cross-validation in a report: runs that are evaluated on different folds of one data set."""

import dataclasses
import statistics
from collections.abc import Sequence

import ml_collections
import numpy as np

from jaxseg import metrics
from jaxseg.config import flatten
from jaxseg.data.source import DataInfo, Example, Source
from jaxseg.report.measure import Measured
from jaxseg.report.tables import TITLES


def are_folds(configs: Sequence[ml_collections.ConfigDict]) -> bool:
    """Whether runs have different folds of one data set, and no other difference in their data.

    >>> from jaxseg.config import default_config
    >>> configs = [default_config() for _ in range(2)]
    >>> for k, config in enumerate(configs):
    ...     config.data.fold = f"{k}/5"
    >>> are_folds(configs), are_folds(configs[:1]), are_folds([configs[0]] * 2)
    (True, False, False)
    """
    folds = [config.data.fold for config in configs]
    if len(folds) < 2 or None in folds:
        return False
    parts = [tuple(map(int, fold.split("/"))) for fold in folds]
    rest = [{k: v for k, v in flatten(c.data).items() if k != "fold"} for c in configs]
    return (
        len(set(parts)) == len(parts)
        and len({of for _, of in parts}) == 1
        and all(fields == rest[0] for fields in rest)
    )


class _Joined:
    """The examples of several sources, one after another."""

    def __init__(self, sources: Sequence[Source]):
        self._places = [(source, i) for source in sources for i in range(len(source))]

    @property
    def info(self) -> DataInfo:
        return self._places[0][0].info

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Example:
        source, i = self._places[index]
        return source[i]

    def name(self, index: int) -> str:
        source, i = self._places[index]
        return source.name(i)

    def size(self, index: int) -> tuple[int, int]:
        source, i = self._places[index]
        return source.size(i)


def joined(runs: Sequence[Measured]) -> Measured:
    """All folds as one run: each image with the prediction of the run that was not trained on it.

    Its metrics are those of one confusion matrix of all images. Its log is empty.
    """
    confusion = np.sum([run.confusion for run in runs], axis=0)
    scores = metrics.scores(confusion, absent=runs[0].config.eval.absent)
    return dataclasses.replace(
        runs[0],
        name="all folds",
        source=_Joined([run.source for run in runs]),
        scores=scores | {"protocol": runs[0].scores["protocol"]},
        confusion=confusion,
        image_iou=np.concatenate([run.image_iou for run in runs]),
        image_pixels=np.concatenate([run.image_pixels for run in runs]),
        log=[],
        _predictions=[labels for run in runs for labels in run._predictions],
    )


def fold_table(runs: Sequence[Measured], total: Measured) -> str:
    """The mean and standard deviation of each metric over the folds, and that of all images.

    Args:
      runs: the folds.
      total: the same, from `joined`.
    """
    keys = [key for key in TITLES if all(key in run.scores for run in runs)]
    columns = {
        f"mean of {len(runs)} folds": lambda values, key: statistics.mean(values),
        "std": lambda values, key: statistics.stdev(values),
        f"all {len(total.source)} images": lambda values, key: total.scores.get(key),
    }
    rows = []
    for title, value in columns.items():
        found = [value([run.scores[key] for run in runs], key) for key in keys]
        cells = "".join(
            f'<td data-label="{TITLES[key]}">{"–" if v is None else f"{v:.3f}"}</td>'
            for key, v in zip(keys, found, strict=True)
        )
        rows.append(f'<tr><th scope="row">{title}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{title}</th>' for title in ("folds", *map(TITLES.get, keys)))
    return (
        f'<div class="scroll"><table class="scores"><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="note">std: the sample standard '
        "deviation. All images: one confusion matrix, with each image as labelled by the run "
        "that was not trained on it.</p>"
    )
