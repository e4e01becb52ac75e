"""Compiling for absent devices, as far as it can be tested without their compilers."""

import importlib.util
import re

import jax
import jax.numpy as jnp
import pytest

from jaxseg.benchmark.compile_for import compile_for_table, find_batch, find_batch_line, largest
from jaxseg.benchmark.compile_for.compiled import compiled_step
from jaxseg.benchmark.compile_for.described import described
from jaxseg.benchmark.compile_for.programs import STEPS, Step
from jaxseg.benchmark.compile_for.topology import _TARGETS, GPUS, Topology
from jaxseg.benchmark.peaks import ROOFLINES, chip
from jaxseg.cli import run
from jaxseg.cli.benchmark import _of_network
from jaxseg.errors import InputError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--compile-for", "gpu:h200"], "'gpu' is not a supported platform"),
        (["--compile-for", "tpu:v5"], "'v5e'"),
        (["--compile-for", "tpu:v5e:2x2"], r"jaxseg\[tpu-compiler\]"),
        (["--compile-for", "cuda:h200"], r"jaxseg\[cuda-compiler\]"),
        (["--compile-for", "cuda:h200", "--what", "loader"], "'loader' cannot be compiled"),
        (["--compile-for", "cuda:h200", "--beside", "fancy"], "'plain'"),
        (["--compile-for", "cuda:h200", "--size", "500"], "HEIGHTxWIDTH"),
    ],
)
def test_what_is_refused(words, message, tiny_file, capsys, monkeypatch):
    found = importlib.util.find_spec
    compilers = ("libtpu", "jax_cuda12_plugin", "jax_cuda13_plugin")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in compilers else found(name)
    )
    assert run(["benchmark", "--config", str(tiny_file), *words]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and re.search(message, "\n".join(told))


def test_a_network_by_name_has_its_own_classes():
    fields, classes = _of_network("pspnet_r50_ade20k")
    assert ("model.name", "pspnet_resnet50") in fields and classes == 150


def test_a_data_set_is_its_classes_and_size(tiny):
    voc = tiny({"data.name": "voc2012", "augment.crop": (64, 96)})
    assert described(voc).info.num_classes == 21 and described(voc).size(0) == (64, 96)
    own = {"data.name": "folder", "augment.crop": None}
    with pytest.raises(InputError, match="num_classes=N"):
        described(tiny(own))
    with pytest.raises(InputError, match="--size"):
        described(tiny(own | {"model.num_classes": 4}))
    assert described(tiny(own | {"model.num_classes": 4}), (50, 70)).size(0) == (50, 70)


RESULTS = {"eval": (6, 6), "forward": (8, 4, 4, 6)}


@pytest.mark.slow
def test_steps_are_those_of_a_run(tiny):
    config = tiny({"train.fsdp": 2})
    devices = jax.devices()[:4]
    for what, make in STEPS.items():
        step = make(config, described(config), devices)
        images = next(a for a in jax.tree.leaves(step.arguments) if a.dtype == jnp.uint8)
        assert images.shape == (8, 32, 32, 3) and (step.batch_size, step.size) == (8, (32, 32))
        if what in RESULTS:
            assert jax.eval_shape(step.function, *step.arguments).shape == RESULTS[what]


H200 = Topology("cuda:h200", chip("h200"), jax.devices()[:1], {})


@pytest.fixture(scope="module")
def product():
    """The measured numbers of a matrix product, compiled for a CPU that poses as an H200."""
    square = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    step = Step(jax.jit(lambda a, b: jnp.tanh(a @ b)), (square, square), 8, (64, 64))
    return compiled_step(H200, step, "float32", top=3)


def test_the_numbers_of_a_product(product):
    square = 4 * 64 * 64
    assert product["flops"] == 2 * 64**3
    assert product["memory_bytes"]["argument"] == 2 * square and product["fits"]
    assert product["bytes"] >= 3 * square and product["launches"] >= 2
    least = max(2 * 64**3 / 494.7e12, product["bytes"] / 4.8e12) * 1000
    assert least <= product["milliseconds_at_least"] < 2 * least
    assert list(product["rooflines"]) == list(ROOFLINES)
    about = {"what": "train", "network": "n", "target": "cuda:h200", "batch_size": 8, "devices": 1}
    table = compile_for_table(
        product
        | about
        | {"image_size": [64, 64], "dtype": "float32", "jax": "1", "beside": product}
    )
    for line in ("launches", "the most expensive instructions", "plain / jaxseg", "fits .*yes"):
        assert re.search(line, table), line
    assert len({row["name"] for row in product["dearest"]}) == len(product["dearest"])


@pytest.mark.parametrize(("each", "batch"), [(1e9, 128), (40e9, 4), (150e9, 0)])
def test_the_largest_batch_that_fits(tiny, monkeypatch, each, batch):
    """Two devices with 113.55 GB of usable memory each; 10 GB do not depend on the batch."""
    topology = H200._replace(devices=jax.devices()[:2])
    tried, said = [], []

    def compiled(topology, step, dtype, top):
        tried.append(step.batch_size)
        total = 10e9 + each * step.batch_size / 2
        return {"memory_bytes": {"total": total}, "fits": total < 113.55e9}

    def step(config, data, devices):
        return Step(None, (), config.train.batch_size, (32, 32))

    monkeypatch.setattr(largest, "open_topology", lambda target: topology)
    monkeypatch.setattr(largest, "compiled_step", compiled)
    monkeypatch.setitem(largest.STEPS, "train", step)
    found = find_batch(tiny(), "cuda:h200:2", say=said.append)
    assert found["batch_size"] == batch
    assert len(set(tried)) == len(tried) == len(said) <= 4
    assert ("not even one" in find_batch_line(found)) == (batch == 0)


def test_targets_are_the_chips_of_the_table():
    assert set(GPUS) == {"a100", "h100", "h200", "b200"}
    for name in GPUS:
        text = (_TARGETS / f"{name}.txtpb").read_text(encoding="utf-8")
        bandwidth, memory = (
            int(re.search(rf"{key}: (\d+)", text)[1])
            for key in ("memory_bandwidth", "device_memory_size")
        )
        assert bandwidth == pytest.approx(chip(name).bandwidth, rel=0.01)
        assert memory == pytest.approx(chip(name).memory, rel=0.01)
        assert re.search(chip(name).device_kind, text)
