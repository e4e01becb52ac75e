"""Finds the batch size that fits a device's memory, according to its compiler."""

from collections.abc import Callable
from typing import Any

import ml_collections

from jaxseg.benchmark.compile_for.compiled import check_what, compiled_step
from jaxseg.benchmark.compile_for.described import Size, described
from jaxseg.benchmark.compile_for.memory import usable
from jaxseg.benchmark.compile_for.programs import STEPS
from jaxseg.benchmark.compile_for.topology import open_topology
from jaxseg.config import validate
from jaxseg.training.batch_size import largest_that_fits

_MOST = 1024  # images per device; no recipe uses more


def find_batch(
    config: ml_collections.ConfigDict,
    target: str,
    what: str = "train",
    *,
    size: Size | None = None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """The largest batch whose program fits a device's memory, a power of two per device.

    Programs with one and two images per device are compiled to find how memory grows, then programs
    near the limit. With `train.accumulate`, the images are those of one part.

    Args:
      config: config of a run; its batch size is ignored.
      target: as in `compile_for`.
      what: "train", "eval" or "forward".
      size: (height, width) of whole images, if the config does not define it.
      say: receives a line for each compiled size.

    Returns:
      "batch_size" over all devices, 0 if not even one image per device fits; "usable_bytes" of a
      device; "tried", the numbers of `compile_for` for each compiled size, smallest first.

    Raises:
      InputError: as `compile_for`.
    """
    check_what(what)
    validate(config)
    topology = open_topology(target)
    data = described(config, size)
    # devices that share an image's rows have the same part of the batch
    step_of = max(len(topology.devices) // config.train.space, 1)
    step_of *= config.train.accumulate if what == "train" else 1
    limit = usable(topology.chip)
    tried: dict[int, dict[str, Any]] = {}

    def takes(images: int) -> float:
        if images not in tried:
            batch_size = images * step_of
            step = STEPS[what](_of_batch(config, what, batch_size), data, topology.devices)
            found = compiled_step(topology, step, config.model.dtype, top=0)
            tried[images] = {"batch_size": batch_size} | found
            say(_line(tried[images]))
        memory = tried[images]["memory_bytes"]
        return memory.get("total") or max(memory["needed"], 2 * limit)

    fits = largest_that_fits(takes, limit, _MOST)
    return {
        "what": what,
        "network": config.model.name,
        "dtype": config.model.dtype,
        "target": target,
        "devices": len(topology.devices),
        "batch_size": fits * step_of,
        "usable_bytes": limit,
        "tried": [tried[images] for images in sorted(tried)],
    }


def find_batch_line(found: dict[str, Any]) -> str:
    """The result of `find_batch` as a sentence."""
    if not found["batch_size"]:
        return "not even one image per device fits"
    over = "" if found["devices"] == 1 else f" over {found['devices']} devices"
    return f"the largest batch that fits {found['target']}: {found['batch_size']}{over}"


def _of_batch(config: ml_collections.ConfigDict, what: str, batch_size: int):
    config = config.copy_and_resolve_references()
    if what == "train":
        config.train.batch_size = batch_size
    else:
        config.eval.batch_size = batch_size
        config.train.batch_size = batch_size * config.train.accumulate
    return config.lock()


def _line(result: dict[str, Any]) -> str:
    memory = result["memory_bytes"]
    total = memory.get("total") or memory["needed"]
    taken = f"{total / 1e9:.2f} GB" if total else "more memory than the device has"
    verdict = "fits" if result["fits"] else "does not fit"
    rate = result.get("images_per_second") or result.get("images_per_second_at_most")
    most = "" if "images_per_second" in result else "at most "
    speed = f", {most}{rate:.0f} images/s" if rate else ""
    return f"batch of {result['batch_size']}: {taken}, {verdict}{speed}"
