"""A run's position in its data, which a checkpoint stores and a resumed run must match."""

import zlib

from jaxseg.data.source import Source
from jaxseg.errors import InputError

_MUST_MATCH = {
    "seed": "config.seed",
    "batch_size": "config.train.batch_size",
}
_OTHER_DATA = (
    "Restore the original data. To start from the weights of this run instead, use another "
    "workdir and set config.init.pretrained to this one."
)


def position(source: Source, *, step: int, seed: int, batch_size: int) -> dict[str, int]:
    """The position of a run before batch `step` of `train_batches`, which is its complete state.

    Returns:
      A dict of integers: step, seed, batch_size, `examples` (number of examples of the source) and
      `names` (a CRC-32 of their names in order, which detects other files or another order).
    """
    return {
        "step": step,
        "seed": seed,
        "batch_size": batch_size,
        "examples": len(source),
        "names": checksum_of_names(source),
    }


def checksum_of_names(source: Source) -> int:
    """A CRC-32 of the names of all examples in order."""
    checksum = 0
    for index in range(len(source)):
        name = source.name(index).encode("utf-8", "surrogateescape")
        checksum = zlib.crc32(name + b"\n", checksum)
    return checksum


def check_position(saved: dict[str, int], current: dict[str, int]):
    """Checks that a run saved at `saved` can resume in the same order at `current`.

    Steps may differ.

    Raises:
      InputError: another seed, batch size or data set; the message names the difference.

    >>> check_position({"seed": 0, "batch_size": 8}, {"seed": 0, "batch_size": 4})
    Traceback (most recent call last):
    jaxseg.errors.InputError: The checkpoint was saved with config.train.batch_size = 8, ...
    """
    for key, what in _MUST_MATCH.items():
        if saved.get(key) != current.get(key):
            raise InputError(
                f"The checkpoint was saved with {what} = {saved.get(key)}, but this run has "
                f"{current.get(key)}.",
                f"Resume with {saved.get(key)}, or start again in another workdir.",
            )
    if saved.get("examples") != current.get("examples"):
        raise InputError(
            f"The checkpoint was saved with {saved.get('examples')} training examples, but this "
            f"run has {current.get('examples')}.",
            _OTHER_DATA,
        )
    if saved.get("names") != current.get("names"):
        raise InputError(
            "The training examples differ from those of the run (by a checksum of the names): "
            "files were renamed, replaced or reordered.",
            _OTHER_DATA,
        )
