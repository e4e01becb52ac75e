"""User errors: each message has one sentence for the problem and one for the fix."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """An error in the caller's input, which the caller can fix.

    The command line prints it as two lines and exits with code 2, without a traceback.

    Args:
      problem: one sentence naming the file, key or value that is wrong.
      remedy: one sentence on the fix.

    Both texts pass through `plain`.

    >>> print(InputError("width is 0.", "Give a width above 0."))
    width is 0. Give a width above 0.
    """

    def __init__(self, problem: str, remedy: str):
        problem, remedy = plain(problem), plain(remedy)
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self):  # the default pickles one argument; loader processes pickle errors
        return type(self), (self.problem, self.remedy)


def plain(text: str, most: int = 2000) -> str:
    """The text on one line, with unprintable characters escaped: it may contain names from files.

    Args:
      text: the text to print.
      most: maximum number of characters; a longer text loses its middle.

    >>> plain("a\\nfix: run this\\x1b[2K")
    'a\\\\nfix: run this\\\\x1b[2K'
    >>> plain("n" * 3000, most=12)
    'nnnn ... nnn'
    """
    if len(text) > most:
        first = (most - 5) * 2 // 3
        text = f"{text[:first]} ... {text[len(text) - (most - 5 - first) :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Stopped(Exception):
    """A signal stopped a run, after the run had saved all its work.

    The command line then exits with code 75 (EX_TEMPFAIL of sysexits.h, "try again later"). The
    same command resumes the run.
    """


def nearest(word: str, choices: Iterable[str]) -> str:
    """A sentence that names the choices closest to `word`, or all choices if none is close.

    >>> nearest("fcn8", ["fcn8s_vgg16", "pspnet_resnet50"])
    "Did you mean 'fcn8s_vgg16'?"
    >>> nearest("x", ["adamw", "sgd"])
    "Choose one of 'adamw', 'sgd'."
    """
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=3, cutoff=0.5)
    quoted = ", ".join(f"'{c}'" for c in (close or choices))
    return (
        f"Did you mean {' or '.join(repr(c) for c in close)}?"
        if close
        else f"Choose one of {quoted}."
    )
