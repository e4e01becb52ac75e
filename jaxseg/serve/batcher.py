"""Labels the images of many requests in batches, in one thread."""

import collections
import concurrent.futures
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple


class Full(Exception):
    """The queue of images is full."""


class _Waiting(NamedTuple):
    key: Hashable
    image: Any
    result: concurrent.futures.Future
    since: float


class Batcher:
    """Passes images to a function in batches with equal keys, the oldest first.

    An image waits a short time for others with the same key. One thread calls the function, so that
    only one batch at a time uses memory.

    Args:
      label: takes a key and up to `most_batch` images; returns a result per image.
      most_waiting: maximum number of waiting images.
      most_batch: maximum number of images per batch.
      window: seconds that an image waits for others.
    """

    def __init__(
        self,
        label: Callable[[Any, Sequence[Any]], Sequence[Any]],
        *,
        most_waiting: int = 64,
        most_batch: int = 4,
        window: float = 0.005,
    ):
        self._label, self._most_waiting = label, most_waiting
        self._most_batch, self._window = most_batch, window
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="jaxseg-batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Number of waiting images, without cancelled ones."""
        with self._changed:
            return sum(not one.result.cancelled() for one in self._waiting)

    def submit(self, key: Hashable, image: Any) -> concurrent.futures.Future:
        """Returns the future result of an image; cancelling it while it waits saves the work.

        Raises:
          Full: too many images are waiting, or the batcher is closed.
        """
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                self._waiting = collections.deque(
                    one for one in self._waiting if not one.result.cancelled()
                )
            if self._closed or len(self._waiting) >= self._most_waiting:
                raise Full
            one = _Waiting(key, image, concurrent.futures.Future(), time.monotonic())
            self._waiting.append(one)
            self._changed.notify()
        return one.result

    def close(self) -> None:
        """Stops accepting images, and waits until all waiting ones are labelled."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            running = [one for one in batch if one.result.set_running_or_notify_cancel()]
            if not running:
                continue
            try:
                results = self._label(running[0].key, [one.image for one in running])
                for one, result in zip(running, results, strict=True):
                    one.result.set_result(result)
            except BaseException as error:  # passed on to the waiting requests
                for one in running:
                    if not one.result.done():
                        one.result.set_exception(error)
            del batch, running  # otherwise these images stay in memory until the next batch

    def _next(self) -> list[_Waiting]:
        """The next batch; empty if the batcher is closed and no image is waiting."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            while self._waiting:
                first = self._waiting[0]
                batch = [one for one in self._waiting if one.key == first.key][: self._most_batch]
                left = first.since + self._window - time.monotonic()
                if len(batch) < self._most_batch and left > 0 and not self._closed:
                    self._changed.wait(left)
                    continue
                taken = set(map(id, batch))
                self._waiting = collections.deque(
                    one for one in self._waiting if id(one) not in taken
                )
                return batch
        return []
