"""The reader of `.caffemodel` files, against protobuf itself and every kind of damage."""

import time

import numpy as np
import pytest
from caffe_writer import delimited, key, number, varint, write_caffemodel
from damage import cost_of_reading, mutated, traced
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from jaxseg.errors import InputError
from jaxseg.pretrained.tensor_file import read_tensors


def layers(seed=0):
    """Layers of a network with distinct shapes; two of them are float64."""
    rng = np.random.default_rng(seed)

    def values(*shape, dtype=np.float32):
        return rng.standard_normal(shape).astype(dtype)

    return [
        ("data", "Data", []),
        ("conv1_1", "Convolution", [values(5, 3, 7, 2), values(5)]),
        ("crop", "Crop", []),
        ("conv5_3_pool1_conv/bn", "BN", [values(1, 6, 1, 1) for _ in range(4)]),
        ("crop", "Crop", []),
        ("fc6", "InnerProduct", [values(4, 18, dtype=np.float64), values(4, dtype=np.float64)]),
        ("größe", "Deconvolution", [values(2, 3, 4, 4)]),
    ]


@pytest.fixture(scope="module")
def caffe():
    """The message classes of caffe.proto, by name, made by protobuf itself."""
    file = descriptor_pb2.FileDescriptorProto(name="c.proto", package="c", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(called, **fields):
        made = file.message_type.add(name=called)
        for field, (n, kind, repeated) in fields.items():
            field = made.field.add(name=field, number=n)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind[0].isupper():
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".c.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
            field.options.packed = repeated and kind in ("float", "double", "int64")

    message("BlobShape", dim=(1, "int64", True))
    message(
        "BlobProto",
        **{n: (i, "int32", False) for i, n in enumerate(("num", "channels", "height", "width"), 1)},
        data=(5, "float", True),
        diff=(6, "float", True),
        shape=(7, "BlobShape", False),
        double_data=(8, "double", True),
    )
    message(
        "LayerParameter",
        name=(1, "string", False),
        type=(2, "string", False),
        bottom=(3, "string", True),
        top=(4, "string", True),
        blobs=(7, "BlobProto", True),
    )
    message(
        "V1LayerParameter",
        bottom=(2, "string", True),
        top=(3, "string", True),
        name=(4, "string", False),
        type=(5, "int32", False),
        blobs=(6, "BlobProto", True),
    )
    message(
        "NetParameter",
        name=(1, "string", False),
        layers=(2, "V1LayerParameter", True),
        layer=(100, "LayerParameter", True),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"c.{m.name}"))
        for m in file.message_type
    }


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("legacy_shapes", [True, False])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_protobuf_reads_the_writers_files(tmp_path, caffe, version, legacy_shapes, packed):
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, layers(), version, legacy_shapes, packed)
    net = caffe["NetParameter"].FromString(path.read_bytes())
    assert not (net.layer if version == "v1" else net.layers)
    found = net.layers if version == "v1" else net.layer
    assert [layer.name for layer in found] == [name for name, *_ in layers()]
    for layer, (_, kind, arrays) in zip(found, layers(), strict=True):
        assert version == "v1" or layer.type == kind
        for blob, array in zip(layer.blobs, arrays, strict=True):
            if legacy_shapes:
                shape = blob.num, blob.channels, blob.height, blob.width
                assert not blob.HasField("shape")
            else:
                shape = tuple(blob.shape.dim)
                assert not blob.HasField("num")
            assert shape == (1,) * (4 * legacy_shapes - array.ndim) + array.shape
            double = array.dtype == np.float64
            assert not (blob.data if double else blob.double_data)
            values = np.array(blob.double_data if double else blob.data, array.dtype)
            np.testing.assert_array_equal(values, array.ravel())


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("legacy_shapes", [True, False])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_blob_is_read_as_it_was_written(tmp_path, version, legacy_shapes, packed):
    path = tmp_path / "a.weights"  # the file's name does not matter
    write_caffemodel(path, layers(), version, legacy_shapes, packed)
    file = read_tensors(str(path))
    assert (file.path, file.container, file.notes) == (path, "caffe", ())
    want = {f"{name}/{i}": a for name, _, arrays in layers() for i, a in enumerate(arrays)}
    assert list(file.tensors) == list(want)
    for name, array in want.items():
        got = file.tensors[name]
        assert got.dtype == array.dtype
        assert got.shape == (1,) * (4 * legacy_shapes - array.ndim) + array.shape
        assert file.tensors.shape(name) == got.shape
        assert not got.flags.writeable
        np.testing.assert_array_equal(got.reshape(array.shape), array)
    words = {name: kind for name, kind, _ in layers()}
    numbers = dict(zip(words, (5, 4, 40, 43, 14, 39), strict=True))
    assert file.layer_types == (numbers if version == "v1" else words)
    assert list(file.layer_types) == list(words)


def test_what_protobuf_writes_is_read(tmp_path, caffe):
    """With the fields that training leaves in a file: gradients, inputs, unknown numbers."""
    values = np.random.default_rng(1).standard_normal((3, 2, 5)).astype(np.float32)
    net = caffe["NetParameter"](name="n")
    layer = net.layer.add(name="conv", type="Convolution", bottom=["a", "b"], top=["c"])
    blob = layer.blobs.add(data=values.ravel().tolist(), diff=[7.0] * 30)
    blob.shape.dim.extend(values.shape)
    path = tmp_path / "a.caffemodel"
    unknown = number(8, 1) + delimited(90, b"\xff" * 9) + key(91, 5) + b"\xff" * 4
    path.write_bytes(unknown + net.SerializeToString() + unknown)
    file = read_tensors(path)
    assert list(file.tensors) == ["conv/0"]
    np.testing.assert_array_equal(file.tensors["conv/0"], values)


@pytest.mark.parametrize("size", [4, 8])
def test_unpacked_values_end_before_other_fields(tmp_path, size):
    """Gradients and sizes follow them, as protobuf allows."""
    values = np.arange(1, 12, dtype=f"<f{size}")
    wire, field = (5, 5) if size == 4 else (1, 8)
    data = b"".join(key(field, wire) + v.tobytes() for v in values)
    data += b"".join(key(6, 5) + bytes(4) for _ in values)
    data += delimited(7, number(1, 11)) + delimited(6, bytes(44))
    path = tmp_path / "a.caffemodel"
    path.write_bytes(delimited(2, delimited(6, data) + number(5, 4) + delimited(4, b"conv")))
    file = read_tensors(path)
    assert file.tensors["conv/0"].dtype == values.dtype
    np.testing.assert_array_equal(file.tensors["conv/0"], values)


# ---- files that contradict themselves


def blob(values=6, shape=(2, 3)):
    return delimited(7, delimited(1, b"".join(map(varint, shape)))) + delimited(
        5, bytes(4 * values)
    )


def layer(*blobs, name=b"conv"):
    return delimited(100, delimited(1, name) + b"".join(delimited(7, b) for b in blobs))


GOOD = delimited(1, b"net") + layer(blob())
DAMAGED = {
    "a layer cut off": (GOOD[:-1], "ends at byte"),
    "a key cut off": (GOOD + b"\xa2", "ends at byte .*, where a number continues"),
    "a length beyond the end": (
        delimited(1, b"net") + key(100, 2) + varint(2**40) + GOOD,
        "a field reaches to byte 1,099,511,627,7",
    ),
    "a blob longer than its layer": (
        delimited(100, delimited(1, b"conv") + key(7, 2) + varint(99) + blob()),
        "where a field reaches to byte",
    ),
    "a group": (GOOD + key(3, 3), "wire type 3"),
    "wire type 7": (GOOD + key(3, 7), "wire type 7"),
    "field 0": (GOOD + number(0, 1), "number 0"),
    "a number without end": (GOOD + b"\xff" * 11, "more than 64 bits"),
    "a layer that is a number": (GOOD + number(100, 5), "a layer has wire type 0, not 2"),
    "a name that is a number": (delimited(100, number(1, 5)), "name of a layer has wire type 0"),
    "a blob that is a number": (
        delimited(100, delimited(1, b"conv") + number(7, 1)),
        "a blob of layer 'conv' has wire type 0",
    ),
    "values that are doubles by their key": (
        layer(delimited(7, delimited(1, b"\1")) + key(5, 1) + bytes(8)),
        "a value of blob conv/0 has wire type 1, not 5",
    ),
    "a value too few": (layer(blob(5)), r"shape \(2, 3\) but contains 5"),
    "a value too many": (layer(blob(7)), r"shape \(2, 3\) but contains 7"),
    "half a value": (layer(delimited(5, bytes(7))), "not a whole number of float32"),
    "no values": (layer(delimited(7, delimited(1, b"\2\3"))), r"shape \(2, 3\) but contains 0"),
    "no shape": (layer(delimited(5, bytes(8))), r"shape \(\) but contains 2"),
    "an empty blob": (layer(blob(0, (0, 3))), r"shape \(0, 3\) but contains 0"),
    "negative sizes": (layer(blob(6, (-2, -3))), r"shape \(-2, -3\) but contains 6"),
    "sizes whose product overflows 64 bits": (
        layer(blob(0, (2**32, 2**32))),
        r"shape \(4294967296, 4294967296\) but contains 0",
    ),
    "a hundred axes": (layer(blob(1, (1,) * 100)), r"shape \(1, 1, 1, 1, 1, 1, 1, 1, ...\)"),
    "an old shape that lacks a size": (
        layer(number(1, 2) + number(2, 3) + number(3, 1) + delimited(5, bytes(24))),
        r"shape \(2, 3, 1, 0\) but contains 6",
    ),
    "a negative old shape": (
        layer(
            number(1, -2) + number(2, -3) + number(3, 1) + number(4, 1) + delimited(5, bytes(24))
        ),
        r"shape \(-2, -3, 1, 1\)",
    ),
    "values in pieces": (layer(blob() + delimited(5, bytes(4))), "conv/0 are in several pieces"),
    "two layers of one name": (
        GOOD + layer(blob()),
        "two layers with blobs are named 'conv'",
    ),
    "a layer without a name": (layer(blob(), name=b""), "has no name"),
    "a name that is no text": (layer(blob(), name=b"\xff\xfe"), "is not text"),
    "a name without end": (layer(blob(), name=b"x" * 2000), "the name of a layer has 2,000 bytes"),
    "no layers": (delimited(1, b"net"), "contains no layer with blobs"),
    "no blobs": (layer() + layer(), "contains no layer with blobs"),
    "a solver's state": (number(1, 9) + delimited(2, b"Snapshot"), "wire type 3"),
    "noise": (np.random.default_rng(0).bytes(1000), ""),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_the_error_names_the_file_and_its_damage(tmp_path, case):
    data, message = DAMAGED[case]
    path = tmp_path / "a.caffemodel"
    path.write_bytes(data)
    with pytest.raises(
        InputError, match=f"a.caffemodel is not a complete .caffemodel: .*{message}"
    ):
        read_tensors(path)


def test_truncated_files_are_refused(tmp_path):
    path = tmp_path / "a.caffemodel"
    for version in ("v1", "v2"):
        write_caffemodel(path, layers()[:2], version)
        whole = path.read_bytes()
        assert len(read_tensors(path).tensors) == 2
        for length in range(1, len(whole), 3):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match="a.caffemodel is (not a complete|a text)"):
                read_tensors(path)


def test_layers_of_2013_are_refused_with_the_tool_that_converts_them(tmp_path):
    path = tmp_path / "a.caffemodel"
    path.write_bytes(delimited(2, delimited(1, delimited(1, b"conv1") + delimited(50, blob()))))
    with pytest.raises(InputError, match="upgrade_net_proto_binary"):
        read_tensors(path)


def test_duplicate_fields_of_a_blob_are_read_as_by_caffe(tmp_path):
    """The old shape takes precedence over the new one, doubles over floats; a shape without axes is
    a scalar."""
    doubles = np.arange(6.0)
    old = b"".join(number(i, n) for i, n in ((1, 1), (2, 2), (3, 1), (4, 3)))
    path = tmp_path / "a.caffemodel"
    both = blob(5, (5,)) + old + delimited(8, doubles.tobytes())
    path.write_bytes(layer(both, delimited(7, b"") + delimited(5, np.float32(2).tobytes())))
    file = read_tensors(path)
    np.testing.assert_array_equal(file.tensors["conv/0"], doubles.reshape(1, 2, 1, 3))
    np.testing.assert_array_equal(file.tensors["conv/1"], np.float32(2))


SIZE = 4 << 20


def many(piece):
    return piece * (SIZE // len(piece))


def named(*blobs):
    """Layers with distinct names."""
    piece = layer(*blobs, name=b"12345678")
    return b"".join(piece.replace(b"12345678", b"%08d" % i) for i in range(SIZE // len(piece)))


CRUMBS = {
    "layers": lambda: many(delimited(100, b"")),
    "old layers": lambda: many(delimited(2, b"")),
    "layers with names": lambda: named(),
    "layers with a blob": lambda: named(blob(1, (1,))),
    "layers with many blobs": lambda: named(*[blob(1, (1,))] * 90),
    "a layer of many blobs": lambda: layer(*[blob(1, (1,))] * (SIZE // 12)),
    "unknown numbers": lambda: many(number(8, 1)),
    "unknown numbers in a layer": lambda: delimited(100, many(number(8, 1))),
    "unknown numbers in a blob": lambda: layer(many(number(9, 1))),
    "values between gradients": lambda: many(key(5, 5) + bytes(4) + key(6, 5) + bytes(4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("crumb", CRUMBS)
def test_a_file_of_tiny_fields_takes_at_most_twice_its_size_in_memory(tmp_path, crumb):
    path = tmp_path / "a.caffemodel"
    path.write_bytes(CRUMBS[crumb]())
    began = time.perf_counter()
    with pytest.raises(InputError, match="not a complete .caffemodel: .* more than [0-9]+"):
        read_tensors(path)
    assert time.perf_counter() - began < 10
    with traced() as peak, pytest.raises(InputError):
        read_tensors(path)
    assert peak() < 2 * SIZE


def test_messages_inside_messages_are_not_followed(tmp_path):
    data = blob()
    for _ in range(3000):
        data = delimited(2, data) + delimited(100, b"")
    path = tmp_path / "a.caffemodel"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a complete .caffemodel"):
        read_tensors(path)


# ---- fuzz


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_mutated_files_give_arrays_or_an_input_error(tmp_path, count):
    """No other exception, no hang, and at most twice the file's size in memory for all arrays."""
    path, files = tmp_path / "a.caffemodel", []
    for version in ("v1", "v2"):
        for packed in (True, False):
            write_caffemodel(path, layers(), version, packed=packed)
            files.append(path.read_bytes())
    # So large that Python's own overhead for a few blobs is small in comparison.
    ballast = delimited(90, bytes(100_000))
    rng, refused = np.random.default_rng(0), 0
    with traced() as peak:
        for i in range(count):
            data = mutated(rng, files) + (ballast if i % 2 else b"")
            if not data:
                continue
            path.write_bytes(data)
            peak()
            began = time.perf_counter()
            try:
                file = read_tensors(path)
                size = sum(np.array(array).nbytes for array in file.tensors.values())
                assert 0 < size <= len(data)
            except InputError as error:
                refused += 1
                assert str(path) in str(error)
            assert peak() <= 2 * len(data) + (0 if i % 2 else 50_000)
            assert time.perf_counter() - began < 5
    assert 0.5 * count < refused < count


@pytest.mark.slow
@pytest.mark.parametrize("packed", [True, False])
def test_half_a_gigabyte_is_read_array_by_array(tmp_path, packed):
    """The memory is that of the largest array, in the file and as a copy, not that of the file;
    if values are not packed, finding their ends needs a pass over the file's pages."""
    one = np.random.default_rng(0).standard_normal((64, 64, 50, 50)).astype(np.float32)
    path = tmp_path / "a.caffemodel"
    write_caffemodel(path, [(f"conv{i}", "Convolution", [one]) for i in range(12)], packed=packed)
    assert path.stat().st_size > 480e6
    cost, total = cost_of_reading(path)
    assert cost < (2.6 * one.nbytes if packed else 1.2 * path.stat().st_size)
    assert total == pytest.approx(12 * one.sum(dtype=np.float64))
