"""The environment of a run: versions, devices, the state of the checkout, the command."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

import jax

from jaxseg.utils.atomic import write_atomic

_PACKAGES = (
    "jaxseg",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "pillow",
)
_VARIABLES = ("XLA_FLAGS", "JAX_", "JAXSEG_", "CUDA_VISIBLE_DEVICES")  # prefixes of names


def environment() -> dict[str, Any]:
    """The environment of this process, ready for JSON.

    Returns:
      `time` (of this call, ISO 8601), `command` (list of arguments), `folder` (the current one),
      `python`, `system`, `packages` (versions by name), `devices` (counts by kind), `processes`,
      `variables` (environment variables read by XLA, JAX and jaxseg) and `git` (`commit`, and
      `changed`, the changed files of the checkout; None outside a checkout).

    >>> environment()["packages"]["jax"] == jax.__version__
    True
    """
    kinds = [device.device_kind for device in jax.devices()]
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [sys.executable, *sys.argv],
        "folder": os.getcwd(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "processes": jax.process_count(),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES)},
        "git": git_state(pathlib.Path(__file__).resolve().parents[2]),
    }


def record(path: pathlib.Path, step: int) -> None:
    """Adds this process's `environment` to the JSON list in `path`, one entry per part of a run.

    Args:
      path: file of the list; created if missing.
      step: number of steps taken when this part of the run begins. Entries of later steps are
        removed, because those steps are repeated.
    """
    try:
        entries = [entry for entry in json.loads(path.read_text("utf-8")) if entry["step"] < step]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        entries = []
    text = json.dumps([*entries, {"step": step} | environment()], indent=1)
    write_atomic(path, text + "\n")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_state(checkout: pathlib.Path) -> dict[str, Any] | None:
    """The commit and the changed files of a git checkout; None if the folder is not a checkout."""
    if not (checkout / ".git").exists():  # git would find a checkout around an installed package
        return None

    def ask(*words: str) -> str:
        command = ["git", "-C", str(checkout), "--no-optional-locks", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        changed = ask("status", "--porcelain").splitlines()
        return {"commit": ask("rev-parse", "HEAD").strip(), "changed": [c[3:] for c in changed]}
    except (OSError, subprocess.CalledProcessError):  # no git, or a checkout of another user
        return None
