"""Detection of file formats from bytes, and the reader of `.safetensors` files."""

import gzip
import os
import pathlib

import ml_dtypes
import numpy as np
import pytest
from caffe_writer import write_caffemodel
from damage import mutated, traced
from PIL import Image
from safetensors.numpy import load_file, save_file

from jaxseg.errors import InputError
from jaxseg.pretrained.tensor_file import read_tensors


def arrays():
    rng = np.random.default_rng(0)
    named = {f"module.{name}": rng.standard_normal((2, 3, 5)).astype(name) for name in "fde"}
    return named | {
        "module.bfloat16": rng.standard_normal(7).astype(ml_dtypes.bfloat16),
        "module.scalar": np.array(3, np.int64),
        "module.none": np.zeros((0, 3), np.float32),
        "module.bool": np.array([True, False, True]),
        **{f"module.{t}": np.array([0, 1, 127], t) for t in ("int8", "uint8", "int16", "int32")},
    }


def test_safetensors_are_those_of_the_package(tmp_path):
    path = tmp_path / "weights.pth"  # the file's name does not matter
    save_file(arrays(), path, metadata={"format": "pt"})
    file = read_tensors(path)
    assert file.container == "safetensors"
    assert file.notes == ("Every name begins with 'module.', which is removed.",)
    want = load_file(path)
    assert {f"module.{name}" for name in file.tensors} == set(want)
    for name, got in file.tensors.items():
        assert got.dtype == want[f"module.{name}"].dtype
        assert not (got.size and got.flags.writeable)
        np.testing.assert_array_equal(got, want[f"module.{name}"])


def test_a_dtype_that_is_not_known_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": np.zeros(3, ml_dtypes.float8_e4m3fn)}, path)
    with pytest.raises(
        InputError, match="Tensor 'w' of .*a.safetensors has dtype F8_E4M3. Save it"
    ):
        read_tensors(path)


@pytest.mark.parametrize("count", [150, pytest.param(2_000, marks=pytest.mark.slow)])
def test_mutated_safetensors_give_arrays_or_an_input_error(tmp_path, count):
    path = tmp_path / "a.safetensors"
    save_file(arrays(), path)
    rng, refused, whole = np.random.default_rng(0), 0, path.read_bytes()
    with traced() as peak:
        for _ in range(count):
            data = mutated(rng, [whole])
            if not data:
                continue
            path.write_bytes(data)
            peak()
            try:
                views = read_tensors(path).tensors.values()
                assert sum(np.array(view).nbytes for view in views) <= len(data)
            except InputError as error:
                refused += 1
                assert str(path) in str(error)
            assert peak() <= 2 * len(data) + 50_000
    assert 0.3 * count < refused < count


def png(path):
    Image.new("RGB", (40, 30), "red").save(path, "PNG")


def numpy_file(path, save):
    with path.open("wb") as file:
        save(file, np.zeros(3))


def jpeg(path):
    Image.new("RGB", (40, 30), "red").save(path, "JPEG")


OTHERS = {
    "nothing": (lambda p: p.write_bytes(b""), "is empty"),
    "text": (
        lambda p: p.write_text('name: "VGG"\nlayer {\n}\n' * 99),
        "is a text file, not a weight",
    ),
    "short text": (lambda p: p.write_text("x"), "is a text"),
    "web page": (lambda p: p.write_text("\n<!DOCTYPE html><html>ü"), "is a web page.*download"),
    "pointer": (lambda p: p.write_text("version https://git-lfs.github.com/ü"), "git lfs pull"),
    "png": (png, "is an image, not a weight file"),
    "jpeg": (jpeg, "is an image, not a weight file"),
    "gzip": (lambda p: p.write_bytes(gzip.compress(bytes(99))), "compressed with gzip.*Unpack"),
    "numpy": (lambda p: numpy_file(p, np.save), "is a NumPy array"),
    "npz": (lambda p: numpy_file(p, np.savez), "without PyTorch's data.pkl"),
    "hdf5": (
        lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)),
        "HDF5 file, as written by Keras",
    ),
    "zeros": (lambda p: p.write_bytes(bytes(1000)), "is not a complete .caffemodel: .* number 0"),
    "a folder": (lambda p: p.mkdir(), "is a folder"),
    "absent": (lambda p: None, "There is no file"),
    "a pipe": (lambda p: os.mkfifo(p), "There is no file"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_files_than_weights_are_named(tmp_path, case):
    make, message = OTHERS[case]
    path = tmp_path / "vgg16.caffemodel"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        read_tensors(path)
    assert str(path) in caught.value.problem


def test_an_exported_program_is_no_weight_file(tmp_path):
    (tmp_path / "net.stablehlo").write_bytes(b"<\0\0\0program")
    with pytest.raises(InputError, match="is an exported program.*docs/guides/export.md"):
        read_tensors(tmp_path / "net.stablehlo")


def test_a_path_that_no_file_can_have():
    with pytest.raises(InputError, match="is not a valid path"):
        read_tensors("a\0b")


def test_files_are_found_after_a_change_of_folder_and_missed_when_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_caffemodel("a.caffemodel", [("conv", "Convolution", [np.ones((2, 3))])])
    file = read_tensors("a.caffemodel")
    assert file.path == pathlib.Path("a.caffemodel")
    monkeypatch.chdir(tmp_path.parent)
    np.testing.assert_array_equal(file.tensors["conv/0"], np.ones((2, 3)))
    with pytest.raises(KeyError):
        file.tensors["conv/1"]
    with (tmp_path / "a.caffemodel").open("r+b") as cut:
        cut.truncate(9)
    with pytest.raises(InputError, match="a.caffemodel changed while it was read"):
        file.tensors["conv/0"]
    (tmp_path / "a.caffemodel").unlink()
    with pytest.raises(InputError, match="a.caffemodel changed while it was read: .*No such file"):
        file.tensors["conv/0"]
