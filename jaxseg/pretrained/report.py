"""The report on an import: every tensor of a file, every parameter of a network."""

import dataclasses
from collections.abc import Mapping

from jaxseg.errors import plain

_MOST = 20_000  # characters of a line


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """The report of `jaxseg.pretrained.load`; `str(report)` is its text.

    Attributes:
      path: the file.
      title: kind of the file.
      used: for each filled parameter, its source tensors.
      kept: for each parameter that kept its initial value, the reason.
      unused: for each tensor that was not used, the reason; None if there is no good one.
      notes: notes for users of the file.
      licence: licence of the authors, if known.
    """

    path: str
    title: str
    used: Mapping[str, tuple[str, ...]]
    kept: Mapping[str, str]
    unused: Mapping[str, str | None]
    notes: tuple[str, ...] = ()
    licence: str | None = None

    @property
    def summary(self) -> str:
        """A summary in one sentence.

        >>> used, kept = {"params/a/kernel": ("a.weight",)}, {"params/b/kernel": "reset"}
        >>> ImportReport("w.pth", "a torchvision VGG16", used, kept, {}).summary
        'w.pth is a torchvision VGG16: it filled 1 of 2 parameters; 0 of its tensors were not used.'
        """
        total = len(self.used) + len(self.kept)
        return (
            f"{self.path} is {self.title}: it filled {len(self.used)} of {total} parameters; "
            f"{len(self.unused)} of its tensors were not used."
        )

    def __str__(self) -> str:
        """The text; names and notes from the file are made `plain`.

        >>> print(ImportReport("w.pth", "a VGG16", {}, {}, {"a\\nfix: run this": "unknown"}))
        w.pth is a VGG16: it filled 0 of 0 parameters; 1 of its tensors were not used.
        1 of the file were not used (unknown): a\\nfix: run this
        """
        lines = [self.summary]
        lines += _grouped("kept their initial values", self.kept)
        lines += _grouped("of the file were not used", self.unused)
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"licence: {self.licence}"] if self.licence else []
        return "\n".join(plain(line, _MOST) for line in lines)


def _grouped(what: str, reasons: Mapping[str, str | None]) -> list[str]:
    """A line per reason, with all names that have this reason."""
    groups: dict[str | None, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return [
        f"{len(names)} {what} ({reason or 'no layer of the network uses them'}): "
        + ", ".join(plain(name, 200) for name in names)
        for reason, names in groups.items()
    ]
