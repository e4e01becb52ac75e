"""Which of a run's metrics can be compared: those of one evaluation set and one protocol.

A resumed run may be evaluated on other images or in another way. Its earlier mean IoUs then say
nothing about its later ones, so the search for the best checkpoint and the patience begin anew.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from jaxseg.checkpoint.steps import COMPARED_FROM
from jaxseg.config import default_config, flatten
from jaxseg.data import Source
from jaxseg.data.position import checksum_of_names

# fields on which the mean IoU does not depend
_WITHOUT_EFFECT = ("every_steps", "batch_size", "pad_to", "boundary")


def evaluated(source: Source, config: ml_collections.ConfigDict) -> dict[str, int]:
    """Identifies what a mean IoU depends on apart from the network.

    Args:
      source: the evaluation split.
      config: the run's `config.eval`.

    Returns:
      `evaluated`, a CRC-32 of the names of the images, and `evaluated_by`, one of the fields that
      differ from the defaults.
    """
    usual = flatten(default_config().eval)
    fields = {
        name: value
        for name, value in sorted(flatten(config).items())
        if name not in _WITHOUT_EFFECT and value != usual[name]
    }
    return {
        "evaluated": checksum_of_names(source),
        "evaluated_by": zlib.crc32(repr(fields).encode("utf-8", "surrogateescape")),
    }


def compared_from(
    saved: Mapping[str, Any], now: Mapping[str, int], start: int
) -> tuple[int, str | None]:
    """The step after which mean IoUs can be compared, and a line for the user if it is `start`.

    Args:
      saved: the position saved with the checkpoint from which the run resumes; one of an older
        jaxseg does not identify its evaluation, which then counts as the same.
      now: the result of `evaluated`.
      start: the step of that checkpoint.

    >>> compared_from({"evaluated": 1, "evaluated_by": 7}, {"evaluated": 2, "evaluated_by": 7}, 40)[
    ...     0
    ... ]
    40
    >>> compared_from({}, {"evaluated": 2, "evaluated_by": 7}, 40)
    (0, None)
    """
    words = {"evaluated": "the evaluation images", "evaluated_by": "the fields of config.eval"}
    other = [words[key] for key in words if saved.get(key, now[key]) != now[key]]
    if not other:
        return int(saved.get(COMPARED_FROM, 0)), None
    return start, (
        f"{' and '.join(other)} are not those of the first {start} steps: the best checkpoint is "
        f"chosen among those after step {start}"
    )
