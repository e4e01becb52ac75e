"""The cache of compiled programs, which makes later runs start within seconds."""

import hashlib
import os
import pathlib
import platform
import re

_LIMIT = 4 * 2**30  # bytes; above it, JAX removes the least recently used programs


def keep_compiled_programs() -> None:
    """Makes JAX cache slow compilations in `compiled_folder()`, up to 4 GiB.

    JAX's own settings take precedence: $JAX_COMPILATION_CACHE_DIR names another folder,
    $JAX_COMPILATION_CACHE_MAX_SIZE another limit in bytes, and $JAX_ENABLE_COMPILATION_CACHE=false
    disables the cache. It is also disabled if the folder cannot be created or written.
    """
    import jax

    wanted = jax.config.jax_enable_compilation_cache
    if not wanted or jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        folder = compiled_folder()
        folder.mkdir(parents=True, exist_ok=True)
        _remove_undated(folder)
    except (OSError, RuntimeError):  # no home folder, or a read-only one
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        if jax.config.jax_compilation_cache_max_size == -1:  # JAX's default, which is no limit
            jax.config.update("jax_compilation_cache_max_size", _LIMIT)


def compiled_folder() -> pathlib.Path:
    """The folder `jaxseg/compiled/CPU` in $XDG_CACHE_HOME, by default ~/.cache.

    CPU is a hash of the instruction set of this machine's processor. On another machine with the
    same home folder, a program compiled for a CPU with more instructions would crash.
    """
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return root / "jaxseg" / "compiled" / _processor()


def _processor() -> str:
    about = platform.machine()
    try:
        cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return about
    flags = re.search(r"^(flags|Features)\s*:(.*)", cpuinfo, re.MULTILINE)
    return f"{about}-{hashlib.sha256(flags[2].encode()).hexdigest()[:8]}" if flags else about


def _remove_undated(folder: pathlib.Path) -> None:
    """Removes programs without a date of last use, on which JAX fails when it frees space.

    They come from a process that was killed during a write, or from one without a limit.
    """
    for program in folder.glob("*-cache"):
        if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
            program.unlink(missing_ok=True)
