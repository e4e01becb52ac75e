"""The command line: each command parses its options, calls one public function and prints.

`COMMANDS` lists the commands. A command's module is imported only when it runs, so that help is
fast. It has one function, `main(argv)`, which returns None or an exit code other than 0.
"""

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from jaxseg import __version__
from jaxseg.cli.compiled import keep_compiled_programs
from jaxseg.cli.output import lasting_output
from jaxseg.errors import InputError, Stopped, nearest

# command: (module with main(argv), help line)
COMMANDS = {
    "train": ("jaxseg.cli.train", "train a network from a config file, then evaluate it"),
    "find-rate": ("jaxseg.cli.find_rate", "suggest a learning rate with a short range test"),
    "sweep": ("jaxseg.cli.sweep", "train a config with several values of some fields"),
    "evaluate": ("jaxseg.cli.evaluate", "evaluate a checkpoint on the run's evaluation split"),
    "models": ("jaxseg.cli.models", "list the published networks available by name"),
    "predict": ("jaxseg.cli.predict", "label images with a trained network"),
    "serve": ("jaxseg.cli.serve", "label images on a local web page or over HTTP"),
    "average": ("jaxseg.cli.average", "average the weights of checkpoints or runs"),
    "convert": ("jaxseg.cli.convert", "convert published or trained weights to a network folder"),
    "export": ("jaxseg.cli.export", "export a trained network as a program that needs no jaxseg"),
    "prepare": ("jaxseg.cli.prepare", "download, verify and convert a data set"),
    "check": ("jaxseg.cli.check", "report every problem in a data set"),
    "browse": ("jaxseg.cli.browse", "show images and masks as the network receives them"),
    "explain": ("jaxseg.cli.explain", "draw the activations inside trained networks"),
    "benchmark": ("jaxseg.cli.benchmark", "measure the speed of training and evaluation"),
    "doctor": ("jaxseg.cli.doctor", "check whether this machine is ready for a run"),
    "report": ("jaxseg.cli.report", "compare finished runs on one page"),
}


def run(argv: Sequence[str]) -> int:
    """Runs `COMMAND OPTIONS...` and returns the exit code.

    0; 2 for an `InputError`; 75 for a run that was stopped by a signal and saved; 130 for Ctrl-C.

    Only this function handles `InputError`s: it prints two lines on stderr, without a traceback.
    """
    with lasting_output():
        return _run(argv)


def _run(argv: Sequence[str]) -> int:
    try:
        if not argv or argv[0] in ("-h", "--help"):
            print(_help())
            return 0 if argv else 2
        command, *options = argv
        if command == "--version":
            print(f"jaxseg {__version__}")
            return 0
        if command not in COMMANDS:
            raise InputError(f"There is no command {command!r}.", nearest(command, COMMANDS))
        if not {"-h", "--help"} & set(options):
            _check_current_folder()
            settle_process()
        return importlib.import_module(COMMANDS[command][0]).main(options) or 0
    except InputError as e:
        print(f"error: {e.problem}\nfix: {e.remedy}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 75
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from jaxseg.cli.exhausted import command_error
        from jaxseg.cli.jax_settings import jax_setting_error

        told = command_error(error, argv[0]) or jax_setting_error(error)
        if told is None:
            raise
        print(f"error: {told.problem}\nfix: {told.remedy}", file=sys.stderr)
        return 2


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except OSError:
        raise InputError(
            "The current folder no longer exists, or is closed to this user.",
            "Change to another folder, and run the command again.",
        ) from None


def settle_process() -> None:
    """Prepares the process for a command: quiet libraries, fast convolutions, compilation cache.

    Your own program may call it too, before JAX uses a device.
    """
    _quiet_libraries()
    _fast_cpu_convolutions()
    keep_compiled_programs()


def _help() -> str:
    commands = "\n".join(f"  {command:<10}{line}" for command, (_, line) in COMMANDS.items())
    return (
        "usage: python -m jaxseg COMMAND ...\n\n"
        "Semantic segmentation in JAX: FCN, DeconvNet and PSPNet.\n\n"
        f"commands:\n{commands}\n\n"
        "`python -m jaxseg COMMAND --help` shows the options of a command, with examples.\n"
        "`python -m jaxseg --version` shows the version."
    )


def _fast_cpu_convolutions() -> None:
    """Stops jaxlib 0.10 from using a library for CPU convolutions that is slower than XLA's code.

    A training step takes about 15 % less time, an evaluation a third less; jaxlib 0.12 does not
    need this. XLA reads its flags when the first device is used, which is later.
    """
    flag, flags = "--xla_cpu_experimental_ynn_fusion_type", os.environ.get("XLA_FLAGS", "")
    if flags.strip() and not flags.lstrip().startswith("--"):  # XLA reads it as the name of a file
        if not os.path.isfile(flags):
            raise InputError(
                f"XLA_FLAGS is {flags!r}, which is neither a list of --flags nor a file of them.",
                "Correct or unset XLA_FLAGS.",
            )
        return
    if importlib.metadata.version("jaxlib").startswith("0.10.") and flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}=LIBRARY_FUSION_TYPE_DOT".strip()


def _quiet_libraries() -> None:
    """Keeps the warnings of libraries, but hides their progress messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when XLA is loaded
    from absl import logging

    logging.set_verbosity(logging.WARNING)
