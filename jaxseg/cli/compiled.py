"""Where compiled programs are kept, so that the second run of a kind starts in seconds."""

import hashlib
import os
import pathlib
import platform
import re

_LIMIT = 4 * 2**30  # bytes; beyond it those that were not read for longest are removed


def keep_compiled_programs() -> None:
    """Makes jax keep what takes it long to compile in `compiled_folder()`.

    $JAX_COMPILATION_CACHE_DIR, jax's own setting, names another folder, and
    $JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. Where the folder cannot be made or written
    to, nothing is kept either.
    """
    import jax

    wanted = jax.config.jax_enable_compilation_cache
    if not wanted or jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        folder = compiled_folder()
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, _LIMIT)
    except (OSError, RuntimeError):  # no home, or one that is read-only
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def compiled_folder() -> pathlib.Path:
    """`jaxseg/compiled/CPU` in $XDG_CACHE_HOME or ~/.cache.

    CPU stands for the instructions that this machine's processor has: a program that was compiled
    for a CPU with more of them, on another machine with the same home, would crash.
    """
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return root / "jaxseg" / "compiled" / _processor()


def _processor() -> str:
    about = platform.machine()
    try:
        cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux
        return about
    flags = re.search(r"^(flags|Features)\s*:(.*)", cpuinfo, re.MULTILINE)
    return f"{about}-{hashlib.sha256(flags[2].encode()).hexdigest()[:8]}" if flags else about


def _make_room(folder: pathlib.Path, limit: int) -> None:
    """Removes the files that were not read for longest, until there are at most `limit` bytes."""
    files = [(file, file.stat()) for file in folder.iterdir() if file.is_file()]
    files.sort(key=lambda pair: max(pair[1].st_atime, pair[1].st_mtime))
    excess = sum(stat.st_size for _, stat in files) - limit
    for file, stat in files:
        if excess <= 0:
            return
        file.unlink(missing_ok=True)
        excess -= stat.st_size
