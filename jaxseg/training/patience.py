"""Early stopping: counts evaluations without a better mean IoU."""

import pathlib

from jaxseg.checkpoint.metrics_log import log_lines


class Patience:
    """Counts the evaluations since the best mean IoU.

    Its data is in the run's log, so a resumed run counts like an uninterrupted one.

    Args:
      limit: number of evaluations without a better mean IoU that ends the run; None: no limit.
      log: the run's metrics.jsonl, whose evaluations so far count; it may not exist.
      start: the step at which the run resumes; later evaluations in the log do not count.
      since: evaluations up to this step do not count: they were of other images.

    >>> patience = Patience(2, pathlib.Path("none.jsonl"), 0)
    >>> [patience.add(step, iou) for step, iou in ((10, 0.3), (20, 0.5), (30, 0.5), (40, 0.4))]
    [False, False, False, True]
    >>> patience.best
    (20, 0.5)
    """

    def __init__(self, limit: int | None, log: pathlib.Path, start: int, since: int = 0):
        self._limit = limit
        self._without = 0
        self.best: tuple[int, float] | None = None
        for _, entry in log_lines(log) if limit is not None else ():
            if entry is None or entry.get("kind") != "eval":
                continue
            if since < entry["step"] <= start:
                self.add(entry["step"], float(entry["mean_iou"]))

    @property
    def ended(self) -> bool:
        """Whether the limit is reached."""
        return self._limit is not None and self._without >= self._limit

    def add(self, step: int, mean_iou: float) -> bool:
        """Counts an evaluation; returns whether the limit is reached. NaN is never better."""
        if self.best is None or mean_iou > self.best[1]:
            self.best, self._without = (step, mean_iou), 0
        else:
            self._without += 1
        return self.ended
