"""The folder of a sweep: its runs by the values of their fields, and what they share."""

import contextlib
import itertools
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxseg.cli.config_options import read_config
from jaxseg.config import flatten
from jaxseg.errors import InputError
from jaxseg.utils.access import reason
from jaxseg.utils.atomic import write_atomic
from jaxseg.utils.json_files import read_object

ABOUT = "about.json"
Overrides = Sequence[tuple[str, str | None]]


class SweepRun(NamedTuple):
    """A run of a sweep.

    Attributes:
      folder: name of its workdir inside the folder of the sweep.
      fields: the swept fields and their values, as written by the user.
      values: the same values, parsed, in the order of the names of the fields.
    """

    folder: str
    fields: dict[str, str]
    values: list[Any]


class SweepFolder:
    """The runs that were asked for in a folder, by this command and earlier ones.

    A grid is a set of runs. The same values, whatever their order and spelling, are the same run,
    in the same workdir; new values are new runs.

    Args:
      path: the folder; created if missing.
      config: the config of all runs, as given to --config.
      overrides: the config fields of all runs.
      combinations: the swept fields and values of every run.

    Attributes:
      path: the folder.
      wanted: the runs of `combinations`, in that order.
      others: the runs of earlier commands that are not among them.

    Raises:
      InputError: two combinations are equal; the folder contains something else, or a sweep of
        another config or of other fields.
    """

    def __init__(
        self,
        path: pathlib.Path,
        config: str,
        overrides: Overrides,
        combinations: Sequence[Sequence[tuple[str, str]]],
    ):
        self.path = path
        self._config, self._overrides = config, overrides
        names = sorted(name for name, _ in combinations[0])
        about = {"config": config, "config_fields": dict(overrides), "fields": names}
        asked = [(dict(run), self._values(run)) for run in combinations]
        for (fields, values), (again, same) in itertools.combinations(asked, 2):
            if values == same:
                raise InputError(
                    f"{in_words(fields)} and {in_words(again)} are the same run.",
                    "Give each value once.",
                )
        runs = self._earlier(about)
        self.wanted: list[SweepRun] = []
        for fields, values in asked:
            run = next((run for run in runs if run.values == values), None)
            if run is None:
                run = SweepRun(_folder(len(runs) + 1, fields), fields, values)
                runs.append(run)
            self.wanted.append(run)
        self.others = [run for run in runs if run not in self.wanted]
        text = json.dumps(about | {"runs": [run._asdict() for run in runs]}, indent=1)
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_atomic(path / ABOUT, text + "\n")
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {reason(error)}.", "Give another --out."
            ) from None

    def _values(self, fields: Sequence[tuple[str, str]]) -> list[Any]:
        """The parsed values of a run, as JSON stores them."""
        flat = flatten(read_config(self._config, [*self._overrides, *fields]))
        return json.loads(json.dumps([flat[name] for name, _ in sorted(fields)]))

    def _earlier(self, about: dict[str, Any]) -> list[SweepRun]:
        """The runs that the folder contains already."""
        path = self.path / ABOUT
        if not path.is_file():
            if self.path.is_dir() and any(self.path.iterdir()):
                raise InputError(
                    f"{self.path} is not empty and contains no sweep.", "Give another --out."
                )
            return []
        try:
            found = read_object(path)
            earlier = found | {"config_fields": dict(found["config_fields"])}
            if "runs" not in found:
                return self._of_older_version(earlier, about)
            runs = [SweepRun(**run) for run in found["runs"]]
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{path} cannot be read.", "Give another --out.") from None
        self._check_same(earlier, about)
        return runs

    def _check_same(self, earlier: dict[str, Any], about: dict[str, Any]) -> None:
        """Raises InputError if the earlier runs have other options than those of this command."""
        for key, what in (
            ("config", "another --config"),
            ("config_fields", "other --config fields"),
            ("fields", "other fields in --set"),
        ):
            if earlier.get(key) != about[key]:
                raise InputError(
                    f"{self.path} contains a sweep with {what}: {_shown(earlier.get(key))} "
                    f"instead of {_shown(about[key])}.",
                    "Give another --out, or the same options. Only the values in --set may change.",
                )

    def _of_older_version(self, earlier: dict[str, Any], about: dict[str, Any]) -> list[SweepRun]:
        """The runs of an older version's folder, whose about.json lists values, not runs."""
        names = [name for name, _ in earlier["set"]]
        self._check_same(earlier | {"fields": sorted(names)}, about)
        runs = []
        for values in itertools.product(*(values for _, values in earlier["set"])):
            fields = dict(zip(names, values, strict=True))
            ending = _folder(1, fields).partition("_")[2]
            for workdir in self.path.glob(f"*_{ending}"):
                with contextlib.suppress(InputError):
                    runs.append(SweepRun(workdir.name, fields, self._values([*fields.items()])))
        return sorted(runs)


def _folder(number: int, fields: dict[str, str]) -> str:
    text = ",".join(f"{field}={value}" for field, value in fields.items())
    return f"{number:02}_" + re.sub(r"[^\w.=,+-]+", "_", text)[:100]


def in_words(fields: dict[str, str]) -> str:
    """
    >>> in_words({"optim.lr": "0.1", "seed": "2"})
    'optim.lr = 0.1, seed = 2'
    """
    return ", ".join(f"{field} = {value}" for field, value in fields.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return in_words(value) or "none"
    return ", ".join(value) if isinstance(value, list) else str(value)
