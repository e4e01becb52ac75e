"""The compilers of TPU and GPU make no slow operations out of narrow networks.

Each compiler is an extra that needs its own environment (docs/guides/compile_for.md); without it
these tests are skipped. Assertions that today's programs do not meet are marked.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

TPU = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs the extra tpu-compiler"
)
CUDA = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is None, reason="needs the extra cuda-compiler"
)
NARROW = {
    "fcn8s": {"model.name": "fcn8s_vgg16", "model.width": 0.1, "augment.crop": (129, 129)},
    "pspnet": {"model.name": "pspnet_resnet18", "model.width": 0.1, "augment.crop": (185, 185)},
}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """`compiled(target, network, fields)`: the measured numbers of its train step, cached."""
    folder, known = tmp_path_factory.mktemp("compiled"), {}
    config = folder / "defaults.py"
    config.write_text("from jaxseg.config import default_config as get_config\n")

    def make(target, network, **fields):
        fields = NARROW[network] | {"model.dtype": "bfloat16", "train.batch_size": 2} | fields
        words = ["--config", str(config), "--compile-for", target]
        words += [f"--config.{name}={value}" for name, value in fields.items()]
        if tuple(words) not in known:
            file = folder / f"{len(known)}.json"
            environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
            done = subprocess.run(
                [sys.executable, "-m", "jaxseg", "benchmark", "--json", str(file), *words],
                env=environment | {"JAX_PLATFORMS": "cpu"},
                capture_output=True,
                text=True,
                timeout=1200,
            )
            if done.returncode:  # not an AssertionError, which some tests expect
                raise RuntimeError(done.stderr)
            known[tuple(words)] = json.loads(file.read_text())
        return known[tuple(words)]

    return make


def today(reason):
    """Marks an assertion that fails today, until it is fixed."""
    return pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)


NETWORKS = pytest.mark.parametrize("network", sorted(NARROW))


@CUDA
@NETWORKS
def test_no_window_of_a_convolution_is_wider_than_a_kernel(compiled, network):
    assert 0 < compiled("cuda:h200", network)["convolutions"]["widest_window"] <= 16


@CUDA
@NETWORKS
def test_no_scatter_on_a_gpu(compiled, network):
    assert "scatter" not in compiled("cuda:h200", network)["watched"]


@TPU
def test_no_scatter_on_a_tpu(compiled):
    assert "scatter" not in compiled("tpu:v5e:2x2", "fcn8s", **TWO)["watched"]


@CUDA
def test_no_image_is_reversed_on_a_gpu(compiled):
    turned = compiled("cuda:h200", "pspnet")["watched"].get("reverse", {})
    assert turned.get("longest", 0) <= 16 and turned.get("largest", 0) <= 10e6


FLOAT32 = {"jaxseg/ops/upsampling.py", "jaxseg/ops/pyramid_conv.py"}
TWO = {"train.fsdp": 2, "train.batch_size": 4}


@TPU
@today("conv1_1's gradient turns its gradient map round")
def test_no_image_is_reversed_on_a_tpu(compiled):
    assert compiled("tpu:v5e:2x2", "fcn8s", **TWO)["watched"]["reverse"]["longest"] <= 16


@CUDA
@NETWORKS
def test_float32_products_occur_only_in_resizes_of_logits(compiled, network):
    """The strips that the loss upsamples and PSPNet's resized pyramid; all else is bfloat16."""
    lines = compiled("cuda:h200", network)["convolutions"]["float32_lines"]
    assert {line.partition(":")[0] for line in lines} <= FLOAT32


@TPU
def test_collectives_of_two_and_two_devices(compiled):
    """Parameters are gathered once, all in bfloat16; the network has no batch norm."""
    found = compiled("tpu:v5e:2x2", "fcn8s", **TWO)["collectives"]
    assert found["all-gather bf16"] == {"count": 2, "bytes": 2 * (7 * 7 * 51 * 410 + 410 * 410)}
    assert "all-gather f32" not in found


@pytest.mark.parametrize(
    "target", [pytest.param("cuda:h200", marks=CUDA), pytest.param("tpu:v5e", marks=TPU)]
)
def test_what_is_recomputed_is_recomputed_after_the_loss(compiled, target):
    """The twelve convolutions of VGG16 whose activations no other layer keeps."""
    fields = {"model.remat": True, "train.batch_size": 2}
    again = compiled(target, "fcn8s", **fields)["recomputed"]
    assert again["convolutions"] >= 10 and again["early"] == 0
