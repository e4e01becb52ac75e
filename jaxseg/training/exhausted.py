"""Errors for a full disk or memory, or a removed workdir: what is saved, and what would fit."""

import ml_collections

from jaxseg.checkpoint.steps import whole_steps
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.distributed.devices import device_count
from jaxseg.errors import InputError
from jaxseg.utils.exhausted import disk_is_full, full_disk, full_memory, memory_is_full


def run_error(
    error: Exception, config: ml_collections.ConfigDict, folder: Workdir, began: bool = False
) -> InputError | None:
    """The InputError for an error caused by a full disk or memory, or by a workdir that was removed
    during the run; None for any other error."""
    if isinstance(error, InputError):
        return None
    if began:
        try:
            folder.check_present()
        except InputError as removed:
            return removed
    if disk_is_full(error):
        saved = whole_steps(folder.checkpoints)
        kept = (
            f"the checkpoint of step {saved[-1]} is complete" if saved else "no step was saved yet"
        )
        return full_disk(folder.path, kept)
    if memory_is_full(error):
        return full_memory(
            error,
            f"A step with {config.train.batch_size} images in {config.train.accumulate} part(s)",
            _smaller(config),
        )
    return None


def _smaller(config: ml_collections.ConfigDict) -> str:
    """A sentence on how to use less memory than `config`."""
    parts, batch = config.train.accumulate, config.train.batch_size
    devices = max(1, device_count() // config.train.space)
    ways = []
    more = [n for n in range(2 * parts, batch + 1) if batch % n == 0 and batch // n % devices == 0]
    if more:
        ways.append(f"config.train.accumulate={more[0]} (a batch in that many parts)")
    if batch // parts > devices:
        ways.append(f"config.train.batch_size={max(devices, batch // 2 // devices * devices)}")
    crop = config.augment.crop
    if crop is not None:
        half = tuple(max(32, n // 2 // 32 * 32) for n in crop)
        ways.append(f"config.augment.crop={half} (a quarter of the memory)")
    else:
        ways.append("config.augment.crop, smaller than the images")
    if not config.model.get("remat", False):
        ways.append("config.model.remat=True (a third more time)")
    return f"Set {', or '.join(ways)}."
