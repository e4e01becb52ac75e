"""Parses a run's config from the command line: `--config PATH[:ARG]` and `--config.FIELD=VALUE`.

Every user error here is an `InputError` that names the file, line or field.
"""

import ast
import contextlib
import inspect
import linecache
import os
import pathlib
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_collections

from jaxseg import config as config_lib
from jaxseg.config.recipe_files import recipe_file, recipe_names
from jaxseg.errors import InputError, nearest
from jaxseg.utils.paths import given_path

_PREFIX = "--config."


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Splits a command line into config overrides and all other options.

    Returns:
      The other options, and (dotted field, text) pairs in order; the text is None if no value
      follows, which sets a boolean field to true.

    >>> split_overrides(["--config", "c.py", "--config.seed=1", "--config.optim.lr", "-1"])
    (['--config', 'c.py'], [('seed', '1'), ('optim.lr', '-1')])
    """
    others: list[str] = []
    overrides: list[tuple[str, str | None]] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith(_PREFIX):
            others.append(word)
            continue
        name, equals, text = word.removeprefix(_PREFIX).partition("=")
        if equals:
            overrides.append((name, text))
        elif len(words) > 1 and words[0] == "=":  # spaces around the equals sign
            overrides.append((name, words[1]))
            del words[:2]
        elif words and not words[0].startswith("--"):
            overrides.append((name, words.pop(0)))
        else:
            overrides.append((name, None))
    return others, overrides


def scoring_values(overrides: Sequence[tuple[str, str | None]]) -> dict[str, Any]:
    """Parses the overrides of a command that evaluates a trained network, by dotted name.

    Raises:
      InputError: there is no such field, its value has another type, or it is not a field of `eval`
        or `data`.

    >>> scoring_values([("eval.flip", "true"), ("eval.crop", "(473, 473)")])
    {'eval.flip': True, 'eval.crop': (473, 473)}
    """
    config = config_lib.default_config()
    for name, text in overrides:
        config_lib.set_field(config, name, _parse(name, text))
        config_lib.check_scores(name)
    flat = config_lib.flatten(config)
    return {name: flat[name] for name, _ in overrides}


def read_config(
    spec: str | None, overrides: Sequence[tuple[str, str | None]] = ()
) -> ml_collections.ConfigDict:
    """Loads a config file, applies the overrides and validates the result.

    Args:
      spec: `PATH` or `PATH:ARG`; ARG is passed to the file's `get_config`. None: the defaults.
      overrides: pairs from `split_overrides`; the last one of a field wins.

    Returns:
      The locked config.

    Raises:
      InputError: the file, an override or a resulting value is invalid, or the file describes a
        training in stages.
    """
    stages = read_stages(spec, overrides)
    if len(stages) > 1 or stages[0][0]:
        names = [name for name, _ in stages]
        raise InputError(
            f"{spec} trains in stages ({', '.join(names)}); this command needs a single config.",
            f"Give the config of one stage, such as {split_spec(str(spec))[0]}:{names[0]}.",
        )
    return stages[0][1]


def read_stages(
    spec: str | None, overrides: Sequence[tuple[str, str | None]] = ()
) -> list[tuple[str, ml_collections.ConfigDict]]:
    """`read_config` for a file that may describe a training in stages.

    An override applies to every stage, with two exceptions: fields of `init` apply to the first
    stage, and overrides with a stage's name to that stage: `--config.fcn16s.optim.lr=1e-12`.

    Returns:
      (name, locked config) of each stage. If `get_config` returns a single config, there is one
      stage without a name.
    """
    stages = [("", config_lib.default_config())] if spec is None else load_config_file(spec)
    names = [name for name, _ in stages]
    for name, text in overrides:
        first, _, rest = name.partition(".")
        chosen, field = (first, rest) if first and first in names else (None, name)
        for stage, config in stages:
            everywhere = not field.startswith("init.") or stage == names[0]
            if stage == chosen or (chosen is None and everywhere):
                config_lib.set_field(config, field, _parse(field, text))
    for stage, config in stages:
        try:
            config_lib.validate(config)
        except InputError as e:
            remedy = _remedy_for_recipe(spec, config, [name for name, _ in overrides], e)
            raise InputError(f"{f'Stage {stage}: ' if stage else ''}{e.problem}", remedy) from None
    return [(stage, config.lock()) for stage, config in stages]


def _remedy_for_recipe(
    spec: str | None, config: ml_collections.ConfigDict, given: Sequence[str], error: InputError
) -> str:
    """The fix for a field that the config file has set and the user has not: to unset it."""
    of_field = re.match(r"Config field ([\w.]+) is ", error.problem)
    of_network = re.match(r"'\w+' has no field '(\w+)'", error.problem)
    name = of_field[1] if of_field else f"model.{of_network[1]}" if of_network else None
    defaults, flat = config_lib.flatten(config_lib.default_config()), config_lib.flatten(config)
    if spec is None or not given or name not in defaults or name in given:
        return error.remedy
    changed = [f for f in defaults if flat[f] != defaults[f] and f not in given]
    if of_network:  # names all such fields at once
        from jaxseg.models.registry import fields_of

        known = fields_of(config.model.name)
        names = [f for f in changed if f.startswith("model.") and f[6:] not in known]
    else:
        names = [name] if name in changed else []
    if not names:
        return error.remedy
    words = " ".join(f"--config.{f}={_word(defaults[f])}" for f in names)
    return f"{split_spec(spec)[0]} sets it, not your options: add {words}"


def _word(value: Any) -> str:
    """A value quoted for a shell."""
    return shlex.quote(str(value))


def load_config_file(spec: str) -> list[tuple[str, ml_collections.ConfigDict]]:
    """Runs the `get_config` of the file `PATH` of `PATH[:ARG]`, or reads a run's config.json.

    Returns:
      The list of (name, config) from `get_config`, the stages of a training; or its single config
      as a stage without a name.

    Raises:
      InputError: the file is missing, has no `get_config`, fails, rejects ARG, or returns other
        fields than `default_config`, or invalid names of stages.
    """
    path, argument = split_spec(spec)
    path = given_path(path)
    if not path.is_file():
        raise _missing_file(path)
    if path.suffix == ".json":  # the config of a run
        return [("", config_lib.load_config(path))]
    try:
        names: dict[str, Any] = {"__name__": "jaxseg_config_file", "__file__": str(path)}
        with _modules_beside(path):
            exec(compile(path.read_bytes(), str(path), "exec"), names)
        get_config = names.get("get_config")
        if not callable(get_config):
            raise InputError(
                f"{path} has no function get_config.",
                "Define get_config() and return a modified jaxseg.config.default_config().",
            )
        arguments = [] if argument is None else [argument]
        _check_argument(path, get_config, arguments)
        with _modules_beside(path):
            config = get_config(*arguments)
    except InputError:
        raise
    except Exception as e:
        raise _failed_file(path, e) from e
    stages = config if isinstance(config, list) and config else [("", config)]
    for stage in stages:
        if not (isinstance(stage, tuple) and isinstance(stage[-1], ml_collections.ConfigDict)):
            raise InputError(
                f"get_config in {path} returned {type(config).__name__}, not a ConfigDict.",
                "Return a modified jaxseg.config.default_config(), or a list of (name, config) to "
                "train in stages.",
            )
        try:
            config_lib.check_fields(stage[-1])
        except InputError as e:
            raise InputError(f"{path}: {e.problem}", e.remedy) from None
    if stages is config:
        _check_names(path, [stage[0] for stage in stages])
    return stages


@contextlib.contextmanager
def _modules_beside(path: pathlib.Path) -> Iterator[None]:
    """Lets the config file import the modules beside it, as a script may; others come first."""
    folder = str(path.absolute().parent)
    sys.path.append(folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the file removed it itself
            sys.path.remove(folder)


def _check_names(path: pathlib.Path, names: list) -> None:
    """Raises InputError unless `names` are valid for stages: as folders, and in overrides."""
    taken = {name.partition(".")[0] for name in config_lib.field_types()}
    for i, name in enumerate(names):
        if not re.fullmatch(r"\w+", str(name)) or name in taken or name in names[:i]:
            raise InputError(
                f"get_config in {path} returned a stage named {name!r}.",
                "Use letters, digits and _; the name must differ from the other stages and from "
                "the groups of config fields.",
            )


def split_spec(spec: str) -> tuple[pathlib.Path, str | None]:
    """Splits `PATH[:ARG]`, or `NAME[:ARG]` of a built-in recipe; an existing path wins.

    >>> split_spec("configs/camvid_fcn8s.py:full")[1]
    'full'
    >>> path, argument = split_spec("fcn8s:staged")
    >>> path.name, argument
    ('fcn8s.py', 'staged')
    """
    match = re.fullmatch(r"(.*?\.py):(.*)", spec)
    if match:
        return pathlib.Path(match[1]), match[2]
    name, colon, argument = spec.partition(":")
    recipe = recipe_file(name)
    if recipe is None or os.path.lexists(given_path(spec)):
        return pathlib.Path(spec), None
    return recipe, argument if colon else None


def _missing_file(path: pathlib.Path) -> InputError:
    folders = dict.fromkeys([path.parent, pathlib.Path("configs")])
    found = [str(file) for folder in folders for file in folder.glob("*.py")]
    found += recipe_names()
    there = "" if path.parent.is_dir() else f", and no folder {path.parent}"
    return InputError(
        f"There is no config file {path}{there}.",
        nearest(str(path), found) if found else "Give the path of a config file.",
    )


def _check_argument(
    path: pathlib.Path, get_config: Callable[..., Any], arguments: list[str]
) -> None:
    try:
        inspect.signature(get_config).bind(*arguments)
    except TypeError:
        if arguments:
            raise InputError(
                f"{path} accepts no argument after the colon, but {arguments[0]!r} was given.",
                f"Write --config {path}.",
            ) from None
        raise InputError(
            f"{path} needs an argument after the colon.",
            f"Write --config {path}:ARG; the top of the file lists the arguments.",
        ) from None


def _failed_file(path: pathlib.Path, error: Exception) -> InputError:
    """The error for a failed config file, with the line and, if known, the field."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    line = lines[-1] if lines else None
    place = f"{path}, line {line}" if line else str(path)
    if "ml_collections" in frames[-1].filename:
        field_error = _field_error(error, linecache.getline(str(path), line or 0))
        if field_error:
            return InputError(f"{place}: {field_error.problem}", field_error.remedy)
    message = str(error).partition("\n")[0].rstrip(".")
    return InputError(f"{place}: {type(error).__name__}: {message}.", "Correct the config file.")


def _field_error(error: Exception, source: str) -> InputError | None:
    """The InputError for a ConfigDict error about a field in the code line `source`."""
    cause: Any = error
    while isinstance(cause, BaseException) and cause.args:
        cause = cause.args[0]  # ConfigDict wraps a KeyError in an AttributeError
    message = str(cause).partition("\n")[0]
    unknown = re.match(r"Key \"(\w+)\" does not exist|'(\w+)'$", message)
    mistyped = re.match(
        r"Could not override field '(\w+)'.*?\. (.*) is of original type(?: <class '(.*?)'>)?",
        message,
    )
    match = mistyped or unknown
    if not match:
        return None
    key = match[1] or match[2]
    dotted = re.search(rf"\w\.((?:\w+\.)*{key})\b", source)
    name = dotted[1] if dotted else key
    if mistyped:
        if name not in config_lib.field_types():
            return None
        error, given = config_lib.wrong_type(name, mistyped[2]), mistyped[3] or ""
        if "." not in given:
            return error
        kind = config_lib.field_types()[name][0].__name__  # of NumPy or pathlib: as it looks
        return InputError(
            f"{error.problem.removesuffix('.')} of the type {given}.",
            f"Write {kind}(...) around it.",
        )
    try:
        config_lib.set_field(config_lib.default_config(), name, None)
    except InputError as e:
        return e
    return None


def _parse(name: str, text: str | None) -> Any:
    """Parses `text` by the type of the field `name`."""
    if name not in config_lib.field_types():
        return None  # set_field reports the nearest name
    kind, optional = config_lib.field_types()[name]
    if text is None:
        if kind is bool:
            return True
        raise InputError(f"{_PREFIX}{name} has no value.", f"Write {_PREFIX}{name}=VALUE.")
    if optional and text in ("None", "none"):
        return None
    if kind is str:
        return text
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if name == "train.steps" and "epoch" in text:
        return text
    if config_lib.takes_words(name) and text[:1] not in "([":
        return text
    try:
        return kind(text) if kind in (int, float) else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise config_lib.wrong_type(name, text) from None
