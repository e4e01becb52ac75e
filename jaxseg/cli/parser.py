"""An argparse parser whose errors are `InputError`s."""

import argparse
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import given_path

_OTHER_NAMES = {"learning_rate": "lr", "batchsize": "batch_size", "bs": "batch_size"}


class Parser(argparse.ArgumentParser):
    """Parses the options of one command.

    Args:
      command: name of the command.
      description: a sentence or two on the command.
      examples: working command lines for --help.
    """

    def __init__(self, command: str, description: str, examples: Sequence[str]):
        super().__init__(
            prog=f"python -m jaxseg {command}",
            description=description,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(self, args=None, namespace=None):
        """Like argparse, but reports a misspelt option first, with the nearest valid one. Expands
        ~ in paths, also after =, where the shell does not, and rejects invalid paths."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        words = list(args or ())
        for word in words:
            option = word.partition("=")[0]
            if option.startswith("--") and option != "--" and option not in known:
                raise InputError(
                    f"There is no option {option}.",
                    _field_option(option, known) or nearest(option, known),
                )
        if sum(word.partition("=")[0] == "--config" for word in words) > 1:
            raise InputError(  # argparse would use only the last
                "--config is given more than once.",
                "Give one config file; --config.FIELD=VALUE sets a field besides.",
            )
        for word, following in zip(words, [*words, None][1:], strict=True):
            option, equals, value = word.partition("=")
            action = self._option_string_actions.get(option)
            if action and action.type is pathlib.Path and "" == (value if equals else following):
                raise InputError(  # pathlib would take the current folder
                    f"The path after {option} is empty.", "Give a path; . is the current folder."
                )
        parsed = super().parse_args(args, namespace)
        for name, value in vars(parsed).items():
            if isinstance(value, list):
                setattr(parsed, name, [_home(one) for one in value])
            else:
                setattr(parsed, name, _home(value))
        return parsed

    def error(self, message: str) -> NoReturn:
        remedy = f"See `{self.prog} --help` for the usage."
        words = message.removeprefix("unrecognized arguments: ")
        if words != message and os.path.exists(words):
            takes = [o for o in ("--workdir", "--root") if o in self._option_string_actions]
            if words.startswith("-"):
                remedy = f"Write ./{words} for the file of that name."
            elif takes:
                remedy = f"Write {' or '.join(f'{option} {words}' for option in takes)}."
        raise InputError(f"{message[:1].upper()}{message[1:]}.", remedy)


def _field_option(option: str, known: Sequence[str]) -> str | None:
    """The fix for a field of the config that was written like an option: `--lr 0.1`."""
    groups = {"--config.FIELD": ("",), "--config.eval.FIELD": ("eval.",)}
    starts = next((groups[o] for o in known if o in groups), ())
    name = option.removeprefix("--").replace("-", "_").lower()
    name = _OTHER_NAMES.get(name, name)
    from jaxseg.config import field_types

    fields = [f for f in field_types() if f.startswith(tuple(starts))] if starts else []
    same = [f for f in fields if name in (f, f.rpartition(".")[2])]
    if not same:
        return None
    return f"It is a field of the config: {' or '.join(f'--config.{f}=VALUE' for f in same)}."


def _home(value: Any) -> Any:
    return given_path(value) if isinstance(value, pathlib.Path) else value
