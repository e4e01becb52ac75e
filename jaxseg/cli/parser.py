"""An argparse parser whose errors are `InputError`s."""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import given_path


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
                raise InputError(f"There is no option {option}.", nearest(option, known))
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
        raise InputError(
            f"{message[:1].upper()}{message[1:]}.", f"See `{self.prog} --help` for the usage."
        )


def _home(value: Any) -> Any:
    return given_path(value) if isinstance(value, pathlib.Path) else value
