"""Exported programs: one file for any batch, size and platform, with the network's logits."""

import hashlib
import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import jaxseg
from jaxseg.cli import run
from jaxseg.config import default_config
from jaxseg.data import DataInfo
from jaxseg.errors import InputError
from jaxseg.export.stablehlo import export_program
from jaxseg.inference.network import Network

NETWORKS = {
    "fcn8s": ("fcn8s_vgg16", {"padding": 1, "fc_channels": 16}),
    "pspnet": ("pspnet_resnet50", {"depth": 14, "stride_on": "1x1"}),
    "fcn8s, as published": ("fcn8s_vgg16", {"fc_channels": 16}),
    "fcn8s, learned": (
        "fcn8s_vgg16",
        {"fc_channels": 16, "upsampling": "learned", "norm": "batch"},
    ),
    "fcn32s": ("fcn32s_vgg16", {"fc_channels": 16}),
    "alexnet": ("fcn32s_alexnet", {}),
    "googlenet": ("fcn32s_googlenet", {}),
    "fcn_resnet": ("fcn_resnet50", {"depth": 14}),
    "deconvnet": ("deconvnet_vgg16", {"fc_channels": 16, "fc_kernel": 2}),
    "pspnet, stride 32, half pixels": (
        "pspnet_resnet50",
        {"depth": 14, "output_stride": 32, "align_corners": False},
    ),
    "pspnet, maximum": ("pspnet_resnet50", {"depth": 14, "pooling": "max"}),
}
QUICK = ("fcn8s",)


def rest(case):
    return pytest.mark.slow if case in ("deconvnet", "pspnet") else pytest.mark.nightly


def network(case, classes=5):
    """A narrow network with random parameters and statistics."""
    name, fields = NETWORKS[case]
    model = jaxseg.create_model(name, classes, width=0.05, **fields)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros([1, 64, 64, 3]))

    def leaf(path, a):
        kind = path[-1].key
        if kind == "kernel":
            fan_in = np.prod(a.shape[:-1])
            return (rng.standard_normal(a.shape) * (2 / fan_in) ** 0.5).astype(np.float32)
        return (rng.random(a.shape) + (0.5 if kind in ("scale", "var") else 0)).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(leaf, shapes)
    names = tuple(f"class {i}" for i in range(classes))
    info = DataInfo("test", names, tuple((i, 2 * i, 3 * i) for i in range(classes)))
    return Network(
        model, variables, info, default_config().eval, {"network": name, "path": "x", "step": None}
    )


def photographs(*shape):
    return np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)


def assert_the_networks_own(got, network, photos):
    model = network.model
    images = jaxseg.normalize(jnp.asarray(photos), model.preprocessing)
    want = np.asarray(jax.jit(model.apply)(network.variables, images))
    assert got.shape == want.shape and got.dtype == np.float32
    assert want.std() > 1e-3 * abs(want).max()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * abs(want).max())


@pytest.mark.parametrize(
    "case", [c if c in QUICK else pytest.param(c, marks=rest(c)) for c in NETWORKS]
)
def test_stablehlo(tmp_path, case):
    """For any batch and size, the logits equal the network's to 1e-5 of the largest."""
    net = network(case)
    about = export_program(net, tmp_path / "p")
    program = jax_export.deserialize(bytearray((tmp_path / "p").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    sizes = [(2, 64, 96)] if case in QUICK else [(1, 96, 64), (3, 64, 160)]
    for size in sizes:
        photos = photographs(*size)
        assert_the_networks_own(np.asarray(program.call(photos)), net, photos)
    with pytest.raises(ValueError, match=r"32\*h \+ 32"):
        program.call(photographs(1, 65, 64))
    assert about == json.loads((tmp_path / "p.json").read_text())
    assert about["sha256"] == hashlib.sha256((tmp_path / "p").read_bytes()).hexdigest()
    assert about["input"] == {
        "dtype": "uint8",
        "shape": ["n", "32*h + 32", "32*w + 32", 3],
        "channels": "RGB",
    }
    assert about["output"]["shape"] == ["n", "32*h + 32", "32*w + 32", 5]
    assert about["class_names"][3] == "class 3" and about["palette"][3] == [3, 6, 9]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["fcn8s", "pspnet"])
def test_stablehlo_of_one_size(tmp_path, case):
    """For a fixed size that is no multiple of any stride; labels are the argmax of the logits."""
    net, size = network(case), (45, 61)
    photos = photographs(3, *size)
    for output in ("logits", "labels"):
        export_program(net, tmp_path / output, output=output, size=size)
    logits, labels = (
        np.asarray(jax_export.deserialize(bytearray((tmp_path / o).read_bytes())).call(photos))
        for o in ("logits", "labels")
    )
    assert_the_networks_own(logits, net, photos)
    assert labels.dtype == np.uint8 and len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, logits.argmax(axis=-1))


@pytest.mark.slow
def test_a_run_becomes_a_program_that_needs_no_jaxseg(finished, tmp_path, capsys):
    path = tmp_path / "new" / "run.stablehlo"
    words = ["export", "--workdir", str(finished[0].path), "--output", "labels", "--out", str(path)]
    assert run(words) == 0
    size = "n, 32*h + 32, 32*w + 32"
    said = f"{path}: uint8 [{size}, 3] to uint8 [{size}]\n"
    assert capsys.readouterr().out == said
    about = json.loads(path.with_name(path.name + ".json").read_text())
    assert about["step"] == 40 and about["class_names"] == finished[1]["class_names"]
    photos = photographs(2, 64, 96)
    np.save(tmp_path / "photos.npy", photos)
    code = """if True:
        import sys
        sys.modules["jaxseg"] = None  # cannot be imported
        import jax.export, numpy as np
        program = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
        np.save(sys.argv[3], program.call(np.load(sys.argv[2])))
    """
    places = [path, tmp_path / "photos.npy", tmp_path / "labels.npy"]
    subprocess.run([sys.executable, "-c", code, *map(str, places)], check=True, timeout=300)
    model, variables = jaxseg.load_run(finished[0].path)
    for photo, labels in zip(photos, np.load(places[2]), strict=True):
        assert (jaxseg.predict(model, variables, photo) == labels).mean() > 0.999


@pytest.mark.slow
def test_what_cannot_be_exported(tmp_path):
    net = network("deconvnet")
    with pytest.raises(InputError, match="does not support images of 64×80"):
        export_program(net, tmp_path / "p", size=(64, 80))
    with pytest.raises(InputError, match="does not support 'onxx'.*'onnx'"):
        export_program(net, tmp_path / "p", format="onxx")
    with pytest.raises(InputError, match="does not support 'label'.*'labels'"):
        export_program(net, tmp_path / "p", output="label")
    with pytest.raises(InputError, match="need a fixed image size.*--size"):
        export_program(net, tmp_path / "p", format="onnx")
    for name, format in (("p.onnx", "stablehlo"), ("p.StableHLO", "onnx")):
        with pytest.raises(InputError, match=f"{name} would contain a program in the format"):
            export_program(net, tmp_path / name, format=format, size=(224, 224))
    with pytest.raises(InputError, match="not a .pt file. Give --out p.stablehlo or p.onnx"):
        export_program(net, tmp_path / "p.pt")
    (tmp_path / "p.json").touch()
    with pytest.raises(InputError, match=r".*p\.json already"):
        export_program(net, tmp_path / "p")
    with pytest.raises(InputError, match=r"p\.json/p cannot be written"):
        export_program(net, tmp_path / "p.json" / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (["--size", "64"], "--size is '64'.*480,640"),
        (["--size", "0,64"], "--size is '0,64'"),
        (["--weights", "elsewhere"], "Exactly one of"),
        (["--format", "onnx"], "need a fixed image size"),
        (["--step", "39"], "no checkpoint '39'"),
    ],
)
def test_words_that_are_wrong(finished, tmp_path, capsys, words, pattern):
    network = ["--workdir", str(finished[0].path), "--out", str(tmp_path / "p")]
    assert run(["export", *network, *words]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: .+\nfix: .+\n", err) and re.search(pattern, err.replace("\n", " "))
    assert not list(tmp_path.iterdir())


NOT_AS_ONNX = ("pspnet, maximum",)  # see docs/guides/export.md


@pytest.mark.slow
@pytest.mark.parametrize("case", NOT_AS_ONNX)
def test_networks_that_onnx_does_not_support(tmp_path, case):
    pytest.importorskip(
        "jax2onnx", reason="in an environment of its own: see docs/guides/export.md"
    )
    with pytest.raises(InputError, match="jax2onnx cannot convert this"):
        export_program(network(case), tmp_path / "p.onnx", format="onnx", size=(64, 96))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in NETWORKS if c not in NOT_AS_ONNX])
def test_onnx(tmp_path, case):
    pytest.importorskip(
        "jax2onnx", reason="in an environment of its own: see docs/guides/export.md"
    )
    runtime = pytest.importorskip("onnxruntime")
    net = network(case)
    export_program(net, tmp_path / "p.onnx", format="onnx", size=(64, 96))
    session = runtime.InferenceSession(tmp_path / "p.onnx", providers=["CPUExecutionProvider"])
    photos = photographs(1, 64, 96)
    (got,) = session.run(None, {session.get_inputs()[0].name: photos})
    assert_the_networks_own(got, net, photos)
