"""Where compiled programs are kept, so that the second run of a kind starts in seconds."""

import hashlib
import os
import pathlib
import platform
import re

_LIMIT = 4 * 2**30  # bytes; beyond it JAX removes the programs that were not read for longest


def keep_compiled_programs() -> None:
    """Makes JAX keep what takes it long to compile in `compiled_folder()`, 4 GiB of it at most.

    JAX's own settings go before: $JAX_COMPILATION_CACHE_DIR names another folder,
    $JAX_COMPILATION_CACHE_MAX_SIZE another limit in bytes, and $JAX_ENABLE_COMPILATION_CACHE=false
    keeps nothing. Where the folder cannot be made or written to, nothing is kept either.
    """
    import jax

    wanted = jax.config.jax_enable_compilation_cache
    if not wanted or jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        folder = compiled_folder()
        folder.mkdir(parents=True, exist_ok=True)
        _remove_undated(folder)
    except (OSError, RuntimeError):  # no home, or one that is read-only
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        if jax.config.jax_compilation_cache_max_size == -1:  # JAX's default: no limit
            jax.config.update("jax_compilation_cache_max_size", _LIMIT)


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


def _remove_undated(folder: pathlib.Path) -> None:
    """Removes programs without a date of last use, over which JAX stumbles when it makes room.

    They are from a process that was killed while it wrote one, or from one that had no limit.
    """
    for program in folder.glob("*-cache"):
        if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
            program.unlink(missing_ok=True)
