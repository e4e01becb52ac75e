"""The networks of a server by name, with one worker for all of them."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxseg.data.source import DataInfo
from jaxseg.inference.padding import Size
from jaxseg.serve.batcher import Batcher
from jaxseg.serve.labeller import Labelled


class Labels(Protocol):
    """The server's interface to a network: `Labeller`, or a stub."""

    def bucket(self, size: Size) -> Hashable: ...

    def takes_any_size(self) -> bool: ...

    def __call__(self, images: Sequence[np.ndarray]) -> Sequence[Labelled]: ...


class Served(NamedTuple):
    """A network of the server.

    Attributes:
      info: its classes.
      label: the network.
      about: description for the page: "model" (architecture) and "data" (data set), or None.
    """

    info: DataInfo
    label: Labels
    about: Mapping[str, Any]


class Networks:
    """Networks by name, with one queue.

    Args:
      served: the networks; the first is the default.
      most_waiting, most_batch: as in `Batcher`.
      done: called after each batch with the network's name and the number of images.
    """

    def __init__(
        self,
        served: Mapping[str, Served],
        *,
        most_waiting: int = 64,
        most_batch: int = 4,
        done: Callable[[str, int], None] = lambda name, count: None,
    ):
        self.served, self._done = dict(served), done
        self.batcher = Batcher(self._label, most_waiting=most_waiting, most_batch=most_batch)

    def submit(self, name: str, image: np.ndarray):
        """Returns the future `Labelled` of an image.

        Raises:
          InputError: the network does not support an image of this size.
          Full: too many images are waiting.
        """
        bucket = self.served[name].label.bucket(image.shape[:2])
        return self.batcher.submit((name, bucket), image)

    def _label(self, key: tuple[str, Hashable], images: Sequence[np.ndarray]):
        results = self.served[key[0]].label(images)
        self._done(key[0], len(images))
        return results


def short_names(paths: Sequence[str]) -> list[str]:
    """A unique name for each network, without its folders.

    >>> short_names(["runs/camvid/", "old/camvid", "hf://me/streets", "C:\\\\runs\\\\pets"])
    ['camvid', 'camvid-2', 'me/streets', 'pets']
    """
    names: list[str] = []
    for path in paths:
        if path.startswith("hf://"):
            name = path.removeprefix("hf://")
        else:
            name = path.replace("\\", "/").rstrip("/").rpartition("/")[2] or "network"
        number, one = 2, name
        while one in names:
            one, number = f"{name}-{number}", number + 1
        names.append(one)
    return names
