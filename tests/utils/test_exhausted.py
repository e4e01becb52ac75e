"""A full disk or exhausted memory is recognized in every library's errors."""

import errno
import pathlib

import numpy as np
import pytest

from jaxseg.cli.exhausted import command_error
from jaxseg.errors import InputError, plain
from jaxseg.utils.exhausted import asked_for, disk_is_full, full_disk, memory_is_full

# Messages of TensorStore, of JAX on the CPU and on CUDA, and of NumPy.
DISK = (
    'RESOURCE_EXHAUSTED: Error writing local file "/d/4": Failed writing: No space left on device'
)
CPU = "RESOURCE_EXHAUSTED: Out of memory allocating 8026691 bytes."
CUDA = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 21.50GiB. [tf-allocator]"


def wrapped(error):
    """Raised like Orbax's errors, with a chain of causes."""
    try:
        try:
            raise error
        except type(error):
            raise KeyError("seen on the way out")  # noqa: B904
    except KeyError as outer:
        return outer


@pytest.mark.parametrize(
    "error, disk, memory",
    [
        (OSError(errno.ENOSPC, "No space left on device"), True, False),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True, False),
        (ValueError(DISK), True, False),
        (wrapped(ValueError(DISK)), True, False),
        (RuntimeError(CPU), False, True),
        (wrapped(RuntimeError(CUDA)), False, True),
        (MemoryError(), False, True),
        (OSError(errno.ENOENT, "No such file"), False, False),
        (ValueError("a shape"), False, False),
    ],
)
def test_full_disk_and_memory_are_recognized(error, disk, memory):
    assert (disk_is_full(error), memory_is_full(error)) == (disk, memory)


def test_the_size_that_was_asked_for():
    assert asked_for(RuntimeError(CPU)) == 8026691
    assert asked_for(RuntimeError(CUDA)) == 21.5 * 2**30
    with pytest.raises(MemoryError) as caught:
        np.ones(2**60, np.uint8)
    assert asked_for(caught.value) == 2**60
    assert asked_for(MemoryError()) is None


def test_a_command_says_it_in_two_lines():
    told = command_error(RuntimeError(CPU), "evaluate")
    assert "`evaluate` needs more memory" in told.problem and "7.7 MiB" in told.problem
    assert "eval.batch_size=1" in told.remedy
    told = command_error(OSError(errno.ENOSPC, "No space left", "/d/page.html"), "report")
    assert "The disk of /d/page.html is full" in told.problem
    assert command_error(ValueError("a shape"), "report") is None
    assert command_error(full_disk(pathlib.Path("a"), "b"), "train") is None


@pytest.mark.parametrize(
    "name, shown",
    [
        ("a\nfix: run `this`", r"a\nfix: run `this`"),
        ("\x1b[2K\x1b[31m", r"\x1b[2K\x1b[31m"),
        ("a\u202egpj", r"a\u202egpj"),
        ("Fußweg 道路", "Fußweg 道路"),
        ("\udcff", r"\udcff"),
    ],
)
def test_a_name_from_a_file_forges_no_line(name, shown):
    error = InputError(f"Tensor {name} is wrong.", f"Rename {name}.")
    assert (error.problem, error.remedy) == (f"Tensor {shown} is wrong.", f"Rename {shown}.")


def test_a_long_name_is_shortened():
    assert len(str(InputError("n" * 300_000, "Rename it."))) < 2100
    assert plain("x" * 2000) == "x" * 2000
