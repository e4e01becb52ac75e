"""Train steps lowered for TPU and GPU without a device: they contain no form for the CPU."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg import create_model, create_state, make_train_step
from jaxseg.ops import implementation

NETWORKS = {
    "fcn8s_vgg16": ({"width": 0.1, "fc_channels": 640}, 64, 16),
    "deconvnet_vgg16": ({"width": 0.1, "fc_channels": 640, "fc_kernel": 1}, 64, 29),
    "pspnet_resnet50": ({"width": 0.1, "depth": 14}, 65, 23),
}
# Float32 products allowed in a bfloat16 network: the file that makes them, and the reason.
IN_FLOAT32 = {
    "ops/upsampling.py": "logits are float32, upsampled in strips by the loss",
    "ops/strips.py": "the same",
    "ops/pyramid_conv.py": "levels of a few cells, whose products are summed in float32",
    "ops/adaptive_pooling.py": "means over whole images",
}


def train_step(name):
    """A bfloat16 step and the shapes of its arguments."""
    fields, size, _ = NETWORKS[name]
    model = create_model(name, 5, dtype="bfloat16", **fields)
    optimizer = optax.sgd(0.1, 0.9)
    step = make_train_step(model, optimizer)
    state = jax.eval_shape(lambda: create_state(model, optimizer, 0, (size, size)))
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((2, size, size), jnp.uint8)
    return jax.jit(step), (state, images, labels)


SLOW = ("deconvnet_vgg16", "pspnet_resnet50")


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NETWORKS],
)
def programs(request):
    """A network's name, and the texts of its step for each platform and in the reference form."""
    jax.clear_caches()  # what another test traced names the files of that test's call
    step, arguments = train_step(request.param)
    traced = step.trace(*arguments)
    texts = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text(debug_info=True)
        for platform in ("tpu", "cuda", "cpu")
    }
    with implementation("reference"):
        reference = step.trace(*arguments)
    texts["reference"] = reference.lower(lowering_platforms=("tpu",)).as_text(debug_info=True)
    return request.param, texts


def operations(text):
    return collections.Counter(re.findall(r"= \"?stablehlo\.(\w+)", text))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_no_form_of_another_platform_is_in_them(programs, platform):
    _, texts = programs
    forms = {"cpu": "ops/cpu/", "cuda": "ops/gpu/", "tpu": "ops/tpu/"}
    others = [folder for key, folder in forms.items() if key != platform]
    assert not [folder for folder in others if folder in sources(texts[platform])]
    assert forms["cpu"] in sources(texts["cpu"])
    assert not [folder for folder in forms.values() if folder in sources(texts["reference"])]


def test_a_gpus_step_has_no_scatter_and_no_transposed_pooling(programs):
    found = operations(programs[1]["cuda"])
    assert found["scatter"] == found["select_and_scatter"] == 0


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_convolutions_are_convolutions(programs, platform):
    """One forward and two backward, except for the image's own gradient. Matrix products may take
    the place of gradients of kernels on a GPU, and on a TPU those of `ops/tpu/convolution.py`."""
    name, texts = programs
    layers = NETWORKS[name][2]
    found = operations(texts[platform])
    files = "ops/tpu/convolution.py" if platform == "tpu" else ""
    products = [place for place in where(texts[platform], "dot_general") if files in place]
    scores = 3 if name == "fcn8s_vgg16" else 1
    assert found["convolution"] >= layers - scores
    assert found["convolution"] + len(products) >= 3 * layers - 1


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_loops_occur_only_in_the_strips_of_the_loss(programs, platform):
    _, texts = programs
    places = where(texts[platform], "while")
    assert bool(places) == (platform == "tpu" and programs[0] != "deconvnet_vgg16")
    assert all("losses/" in place or "ops/strips.py" in place for place in places), places


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_only_listed_products_are_float32(programs, platform):
    name, texts = programs
    of_float32 = r"tensor<[0-9x]*xf32>.*->"
    assert not where(texts[platform], "convolution", of_float32)
    products = where(texts[platform], "dot_general", of_float32)
    assert products or name == "deconvnet_vgg16"  # DeconvNet upsamples nothing
    for place in products:
        assert any(file in place for file in IN_FLOAT32), place


def told(text):
    """Returns a function from a location's name, e.g. "#loc12", to its text with all references."""
    named = dict(re.findall(r"^(#loc\d*) = (.*)$", text, re.MULTILINE))

    @functools.cache
    def tell(location):
        inside = named.get(location, "")
        return inside + "".join(tell(ref) for ref in re.findall(r"#loc\d+", inside))

    return tell


def sources(text):
    """The source files of a program's operations, without functions of jax.numpy (`_where`): those
    are cached between uses, and name the file of the first use."""
    counts, used = True, set()
    for line in text.splitlines():
        if function := re.search(r"func\.func \w+ @(\w+)", line):
            counts = not function[1].startswith("_")
        if counts and not line.startswith("#loc"):
            used.update(re.findall(r"#loc\d+", line))
    return "\n".join(map(told(text), used))


def where(text, operation, pattern=""):
    """For each `operation` whose line matches `pattern`: the source files of its location."""
    tell = told(text)
    found, lines = [], text.splitlines()
    for i, line in enumerate(lines):
        if re.search(rf"stablehlo\.{operation}\b", line) and re.search(pattern, line):
            if not re.search(r"loc\(", line):  # the location follows the operation's body
                margin = line[: len(line) - len(line.lstrip())]
                line = next(after for after in lines[i:] if after.startswith(f"{margin}}} loc("))
            found.append("".join(tell(ref) for ref in re.findall(r"#loc\d*", line)))
    return found


def test_every_network_has_a_step():
    """The numbers of layers above are at most those of the networks."""
    for name, (fields, size, layers) in NETWORKS.items():
        model = create_model(name, 5, **fields)
        images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
        params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
        kernels = [a for a in jax.tree.leaves(params) if a.ndim == 4]
        assert len(kernels) >= layers, name
