"""The reader of PyTorch's files equals torch.load, but runs nothing that a pickle asks for."""

import argparse
import collections
import datetime
import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import types
import zipfile

import numpy as np
import pytest
from damage import cost_of_reading, mutated, traced

from jaxseg.errors import InputError
from jaxseg.pretrained.tensor_file import read_tensors

both_containers = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture(scope="module")
def save(torch):
    """`save(value, path, zipped)`: torch.save in either container."""

    def save(value, path, zipped, **options):
        torch.save(value, path, _use_new_zipfile_serialization=zipped, **options)

    return save


def state_dict(torch):
    """Tensors of every dtype and of every kind of view."""
    generator = torch.Generator().manual_seed(0)

    def values(*shape):
        return torch.randn(*shape, generator=generator)

    base = values(6, 8)
    integers = {str(t): torch.arange(-2, 3).to(t) for t in (torch.int16, torch.int32, torch.int64)}
    return collections.OrderedDict(
        plain=values(3, 4, 5),
        first_of_base=base[:2],
        steps_in_base=base[1:4, ::3],
        turned=base.t(),
        channels_last=values(2, 3, 4, 5).to(memory_format=torch.channels_last),
        same=base,
        parameter=torch.nn.Parameter(values(2, 2)),
        scalar=torch.tensor(3.5),
        none=torch.zeros(0, 3),
        **{str(t): values(7).to(t) for t in (torch.float16, torch.bfloat16, torch.float64)},
        **integers,
        int8=torch.tensor([-128, 127], dtype=torch.int8),
        uint8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
    )


def assert_equal(torch, file, want):
    """Checks the arrays of `file` against tensors: dtype, shape, order and every value."""
    assert list(file.tensors) == list(want)
    for name, tensor in want.items():
        got, tensor = file.tensors[name], tensor.detach()
        assert got.shape == tuple(tensor.shape), name
        assert str(got.dtype) == str(tensor.dtype).removeprefix("torch."), name
        assert not (got.size and got.flags.writeable)
        if tensor.dtype == torch.bfloat16:
            got, tensor = got.astype(np.float32), tensor.float()
        np.testing.assert_array_equal(got, tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@both_containers
def test_a_state_dict_is_that_of_torch_load(torch, save, tmp_path, zipped, protocol):
    path = tmp_path / "a.caffemodel"  # the file's name does not matter
    save(state_dict(torch), path, zipped, pickle_protocol=protocol)
    file = read_tensors(path)
    assert (file.container, file.notes, file.layer_types) == ("torch", (), {})
    assert_equal(torch, file, torch.load(path, weights_only=False))


@both_containers
def test_a_checkpoint_is_unwrapped_and_says_so(torch, save, tmp_path, zipped):
    """With what training adds: an optimizer's state, numbers, texts, version numbers."""
    network = torch.nn.DataParallel(
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    )
    optimizer = torch.optim.Adam(network.parameters())
    network.module(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    path = tmp_path / "a.pth"
    meta = {"PALETTE": [[0, 1, 2]], "CLASSES": ("a", "ü"), "raw": b"\xff", "iou": 0.5, "none": None}
    checkpoint = {
        "epoch": 3,
        "meta": meta,
        "optimizer": optimizer.state_dict(),
        "state_dict": network.state_dict(),
    }
    save(checkpoint, path, zipped)
    file = read_tensors(path)
    want = {k.removeprefix("module."): v for k, v in network.state_dict().items()}
    assert want["1.num_batches_tracked"] == 1
    assert_equal(torch, file, want)
    assert file.notes == (
        "The weights are in its 'state_dict', beside 'epoch', 'meta', 'optimizer'.",
        "Every name begins with 'module.', which is removed.",
    )


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda w: {"model": w, "epoch": 1}, "in its 'model', beside 'epoch'"),
        (lambda w: {"model_state_dict": w, "best": 0.5}, "in its 'model_state_dict', beside"),
        (lambda w: {"ema": {"x": w["a"]}, "state_dict": w}, "in its 'state_dict', beside 'ema'"),
        (lambda w: {"weights_of_anything": w}, "in its 'weights_of_anything'."),
        (lambda w: w | {"version": 2}, "Ignored because they are not tensors: 'version'."),
        (lambda w: w | {"module.c": w["a"]}, None),
    ],
)
def test_where_the_weights_are_in_a_checkpoint(torch, save, tmp_path, wrap, note):
    weights = {"a": torch.arange(3.0), "module.b": torch.arange(2)}
    path = tmp_path / "a.pth"
    save(wrap(weights), path, True)
    file = read_tensors(path)
    np.testing.assert_array_equal(file.tensors["a"], [0, 1, 2])
    assert {"a", "module.b"} <= set(file.tensors)  # "module." stays unless all names have it
    assert "x" not in file.tensors
    assert note in file.notes[0] if note else not file.notes


class Python2(pickle._Pickler):
    """Pickles like Python 2: texts as bytes, an OrderedDict as a list of pairs."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, text):
        data = text.encode()
        self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        self.memoize(text)

    def save_ordered(self, ordered):
        self.save_reduce(collections.OrderedDict, ([[k, v] for k, v in ordered.items()],))

    dispatch[str] = save_text
    dispatch[collections.OrderedDict] = save_ordered


@pytest.mark.parametrize("last", [8, 12, 13])
def test_a_file_of_python_2_with_views_of_a_storage(torch, tmp_path, last):
    """The legacy container as PyTorch wrote it before 0.4, where a storage can be a view of
    another; in the last case, of one that is too short."""
    values = np.arange(20, dtype=np.float32)

    class Part:
        def __init__(self, first, size):
            self.view = (f"{first}", first, size)

    class Tensor:
        def __init__(self, part, shape):
            self.arguments = part, 0, shape, (shape[1], 1)

        def __reduce__(self):
            return torch._utils._rebuild_tensor, self.arguments

    class Pickler(Python2):
        def persistent_id(self, value):
            if isinstance(value, Part):
                return ("storage", torch.FloatStorage, "7", "cpu", 20, value.view)

    data = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        Python2(data, 2).dump(value)
    Pickler(data, 2).dump(
        collections.OrderedDict(a=Tensor(Part(2, 6), (2, 3)), b=Tensor(Part(last, 8), (4, 2)))
    )
    Python2(data, 2).dump(["7"])
    path = tmp_path / "a.pth"
    path.write_bytes(data.getvalue() + struct.pack("<q", 20) + values.tobytes())
    assert b"U\x01a" in data.getvalue()  # the name "a" as Python 2 writes it
    if last == 13:
        with pytest.raises(InputError, match="a view is larger than its storage"):
            read_tensors(path)
        return
    file = read_tensors(path)
    assert_equal(torch, file, torch.load(path, weights_only=False))
    np.testing.assert_array_equal(file.tensors["b"], values[last : last + 8].reshape(4, 2))


# ---- what is refused


class Payload:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@both_containers
def test_nothing_that_a_file_holds_is_executed(torch, save, tmp_path, zipped):
    path, victim = tmp_path / "a.pth", tmp_path / "victim"
    weights = {"a": torch.zeros(1)}
    for payload, name in [
        (Payload(os.system, f"touch {victim}"), "posix.system"),
        (Payload(eval, f"open({str(victim)!r}, 'w')"), r"(builtins|__builtin__).eval"),
        (Payload(io.open, str(victim), "w"), r"(io|_io|builtins|__builtin__).open"),
        (Payload(getattr, weights, "clear"), r"(builtins|__builtin__).getattr"),
        (Payload(torch.hub.load, "a/b", "c"), "torch.hub.load"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (Payload(subprocess.run, ["true"]), r"(subprocess|commands).run"),
    ]:
        for value in (
            payload,
            weights | {"p": payload},
            {"state_dict": weights, "args": [payload]},
        ):
            save(value, path, zipped)
            with pytest.raises(
                InputError,
                match=f"a.pth contains more than weights: it tries to import {name}, which",
            ):
                read_tensors(path)
    assert not victim.exists()
    torch.load(path, weights_only=False)
    save(Payload(os.system, f"touch {victim}"), path, zipped)
    torch.load(path, weights_only=False)
    assert victim.exists()  # proves that the test can detect an execution


class Settings:
    """A class of a training program, which the reader cannot import."""

    def __init__(self):
        self.rate, self.paths = 0.1, [pathlib.Path("a")]


@both_containers
def test_other_objects_in_checkpoints_are_skipped(torch, save, tmp_path, zipped):
    """No such object is created, in a checkpoint or among weights; its module may be missing."""
    path, weights = tmp_path / "a.pth", {"a": torch.arange(3.0)}
    Settings.__module__ = "no_such_settings"
    sys.modules["no_such_settings"] = types.SimpleNamespace(Settings=Settings)
    scores = collections.defaultdict(list, {"iou": [np.float64(0.5)]})
    kept = {
        "args": argparse.Namespace(lr=0.1, out=pathlib.Path("out")),
        "best": np.float64(3),
        "mean": np.arange(3.0),
        "scores": scores,
        "counts": collections.Counter("aab"),
        "recent": collections.deque([1, 2], 5),
        "when": datetime.datetime(2026, 1, 1),
        "device": torch.device("cpu"),
        "settings": Settings(),
    }
    save({"state_dict": weights, **kept}, path, zipped)
    del sys.modules["no_such_settings"]
    file = read_tensors(path)
    assert_equal(torch, file, weights)
    assert "'args' (argparse.Namespace)" in file.notes[0]
    assert "'settings' (no_such_settings.Settings)" in file.notes[0]
    save(weights | {k: v for k, v in kept.items() if k != "settings"}, path, zipped)
    assert_equal(torch, read_tensors(path), weights)
    save(collections.defaultdict(dict, weights), path, zipped)
    assert_equal(torch, read_tensors(path), weights)
    save(argparse.Namespace(model=weights), path, zipped)
    with pytest.raises(InputError, match="contains no state dict, but an object of argparse.Name"):
        read_tensors(path)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "wrapper.inner."]
)
def test_a_common_prefix_is_removed(torch, save, tmp_path, prefix):
    weights = {name: torch.zeros(1) for name in ("conv1.weight", "layer1.0.conv1.weight")}
    save({prefix + name: v for name, v in weights.items()}, tmp_path / "a.pth", True)
    file = read_tensors(tmp_path / "a.pth")
    assert list(file.tensors) == list(weights)
    assert len(file.notes) == prefix.count(".")


def test_names_of_a_part_are_no_prefix(torch, save, tmp_path):
    names = ["features.0.weight", "features.0.bias"]
    save({name: torch.zeros(1) for name in names}, tmp_path / "a.pth", True)
    assert list(read_tensors(tmp_path / "a.pth").tensors) == names


def test_a_tar_archive_is_called_one(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(__file__, "x")
    with pytest.raises(InputError, match="a.tar is a tar archive.*Unpack it"):
        read_tensors(tmp_path / "a.tar")


@pytest.mark.parametrize("protocol", [2, 4])
def test_other_pickles_are_refused(torch, tmp_path, protocol):
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps({"a": [1.0, 2.0]}, protocol))
    with pytest.raises(
        InputError, match="a.pth is not a complete PyTorch file: .* was not written by"
    ):
        read_tensors(path)
    path.write_bytes(pickle.dumps(Payload(os.system, "true"), protocol))
    with pytest.raises(InputError, match="tries to import posix.system"):
        read_tensors(path)


@both_containers
@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (lambda t: t.zeros(3), "a tensor"),
        (lambda t: [t.zeros(3)], "a list"),
        (lambda t: {"epoch": 3, "args": {"lr": 0.1}}, "the keys 'epoch', 'args'"),
        (lambda t: {"g": {"a": t.zeros(1)}, "d": {"a": t.zeros(1)}}, "the keys 'g', 'd'"),
    ],
)
def test_values_that_are_not_a_state_dict_are_named(torch, save, tmp_path, zipped, value, seen):
    path = tmp_path / "a.pth"
    save(value(torch), path, zipped)
    with pytest.raises(InputError, match=f"a.pth contains no state dict, but {seen}.*state_dict()"):
        read_tensors(path)


def rewritten(path, changes=None, method=zipfile.ZIP_STORED, drop=(), add=()):
    """Rewrites a zip file, with other contents for the entries in `changes`."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            if not name.endswith(tuple(drop)):
                short = name.partition("/")[2]
                archive.writestr(name, (changes or {}).get(short, data))
        for name in add:
            archive.writestr(f"a/{name}", b"")


def test_zip_files_that_contradict_themselves(torch, save, tmp_path):
    path = tmp_path / "a.pth"
    weights = {"a": torch.arange(6.0), "b": torch.arange(3)}

    def refused(message, **how):
        save(weights, path, True)
        rewritten(path, **how)
        with pytest.raises(InputError, match=message):
            read_tensors(path)

    save(weights, path, True)
    rewritten(path)
    assert_equal(torch, read_tensors(path), weights)
    refused("written on a big-endian machine", changes={"byteorder": b"big"})
    refused("'data/0' is shorter|storage '0' is shorter", changes={"data/0": bytes(23)})
    refused("has no entry 'data/1'", drop=["data/1"])
    refused("without PyTorch's data.pkl", drop=["data.pkl"])
    refused("a.pth is a TorchScript program, which jaxseg does not execute", add=["constants.pkl"])
    refused("'a/byteorder' is compressed", method=zipfile.ZIP_DEFLATED)
    refused("'a/data.pkl' is compressed", method=zipfile.ZIP_DEFLATED, drop=["byteorder"])
    refused("its pickle cannot be read", changes={"data.pkl": b"\x80\x02."})
    refused("its pickle cannot be read", changes={"data.pkl": b"\x80\x02}"})
    refused("its pickle uses INST", changes={"data.pkl": b"\x80\x02(i__main__\nx\n."})
    refused("a list is used as a key", changes={"data.pkl": b"\x80\x02}]K\1s."})


def test_a_legacy_file_of_a_big_endian_machine(torch, save, tmp_path):
    path = tmp_path / "a.pth"
    save({"a": torch.arange(3.0)}, path, False)
    data = path.read_bytes()
    at = data.index(b"little_endian") + len(b"little_endian")
    at = data.index(b"\x88", at)  # the opcode for True
    path.write_bytes(data[:at] + b"\x89" + data[at + 1 :])
    with pytest.raises(InputError, match="a.pth was written on a big-endian machine"):
        read_tensors(path)


@both_containers
@pytest.mark.parametrize(
    ("geometries", "message"),
    [
        (
            [((7,), (1,), 0), ((6,), (1,), 1), ((2, 4), (2, 1), 0), ((1000,), (0,), 0)],
            "tensor 'w' has more elements than its storage",
        ),
        (
            [((-1,), (1,), 0), ((1,), (-1,), 0), ((1,), (1,), -1), ((1,), (), 0), ([1], (1,), 0)],
            "its pickle cannot be read",
        ),
        ([((2, 3), (3, 1), 0), ((3,), (2,), 1), ((3, 2), (1, 3), 0), ((0,), (1,), 6)], None),
    ],
)
def test_where_a_tensor_lies_in_its_storage(torch, save, tmp_path, zipped, geometries, message):
    path = tmp_path / "a.pth"
    for shape, strides, offset in geometries:
        storage = torch.arange(6.0)._typed_storage()
        arguments = storage, offset, shape, strides, False, {}
        save({"w": Payload(torch._utils._rebuild_tensor_v2, *arguments)}, path, zipped)
        if message is None:
            assert_equal(torch, read_tensors(path), torch.load(path, weights_only=False))
            continue
        with pytest.raises(InputError, match=message):
            read_tensors(path)


def test_an_entry_that_reaches_beyond_the_end(torch, save, tmp_path):
    path = tmp_path / "a.pth"
    save({"a": torch.arange(6.0)}, path, True)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"a/data/0") - 46  # its entry in the central directory
    assert data[at : at + 4] == b"PK\1\2"
    assert struct.unpack_from("<II", data, at + 20) == (24, 24)
    struct.pack_into("<II", data, at + 20, 10_000, 10_000)
    path.write_bytes(data)
    with pytest.raises(InputError, match="entry 'a/data/0' reaches beyond the end"):
        read_tensors(path)


@both_containers
def test_truncated_files_are_refused(torch, save, tmp_path, zipped):
    path = tmp_path / "a.pth"
    save({"a": torch.arange(3.0), "b": torch.zeros(2)}, path, zipped)
    whole = path.read_bytes()
    for length in range(1, len(whole), 5):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="a.pth is (not a complete|a text)"):
            read_tensors(path)


@pytest.mark.parametrize("count", [150, pytest.param(2_000, marks=pytest.mark.slow)])
def test_mutated_files_give_arrays_or_an_input_error(torch, save, tmp_path, count):
    path, files = tmp_path / "a.pth", []
    for zipped in (True, False):
        for value in (
            state_dict(torch),
            {"state_dict": {"module.a": torch.zeros(3)}, "x": [1, {}]},
        ):
            save(value, path, zipped)
            files.append(path.read_bytes())
    rng, refused = np.random.default_rng(0), 0
    with traced() as peak:
        for _ in range(count):
            data = mutated(rng, files)
            if not data:
                continue
            path.write_bytes(data)
            peak()
            began = time.perf_counter()
            try:
                arrays = read_tensors(path).tensors.values()
                assert all(np.array(array).nbytes <= len(data) for array in arrays)
            except InputError as error:
                refused += 1
                assert str(path) in str(error)
            assert peak() <= 2 * len(data) + 300_000
            assert time.perf_counter() - began < 5
    assert 0.3 * count < refused < count


@pytest.mark.slow
@both_containers
def test_half_a_gigabyte_is_read_array_by_array(torch, save, tmp_path, zipped):
    """The memory is that of the largest array, in the file and as a copy, not that of the file."""
    path = tmp_path / "a.pth"
    one = torch.randn(64, 64, 50, 50)
    save({f"conv{i}": one.clone() for i in range(12)}, path, zipped)
    assert path.stat().st_size > 480e6
    cost, total = cost_of_reading(path)
    assert cost < 2.6 * one.numel() * 4
    assert total == pytest.approx(12 * one.double().sum().item())


def test_a_pickle_ends_with_its_entry(torch, save, tmp_path):
    """The zip's own bytes after it, which include the time of day, are not read as opcodes."""
    path = tmp_path / "a.pth"
    save({"a": torch.arange(6.0)}, path, True)
    rewritten(path, changes={"data.pkl": b"\x80\x02}", "data/0": b"."})
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():  # a newline early in the next entry's header
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 20)), data)
    with pytest.raises(InputError, match="its pickle cannot be read"):
        read_tensors(path)
