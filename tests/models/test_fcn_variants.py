import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import ModelTests, close, images, randomized

from jaxseg import create_model
from jaxseg.config import default_config, set_field, validate
from jaxseg.errors import InputError
from jaxseg.models import model_from_config, transplant
from jaxseg.models.fcn import FCNVGG16
from jaxseg.models.fcn_alexnet import FCNAlexNet
from jaxseg.models.fcn_googlenet import FCNGoogLeNet
from jaxseg.ops import bilinear_deconv

pytestmark = pytest.mark.slow

slow = pytest.mark.slow


def shapes_of(model, size=(37, 53)):
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x)


class TestFCN32sAlexNet(ModelTests):
    make = functools.partial(create_model, "fcn32s_alexnet", num_classes=5, width=0.05)
    size, other_size = (33, 47), (1, 9)


@pytest.mark.nightly  # test_every_network.py has a smaller one
class TestFCN32sGoogLeNet(ModelTests):
    make = functools.partial(create_model, "fcn32s_googlenet", num_classes=5, width=0.25)
    size, other_size, too_small = (33, 47), (64, 31), (30, 47)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("fcn32s_vgg16", 134_346_581),
        ("fcn16s_vgg16", 134_357_354),
        ("fcn8s_vgg16", 134_362_751),
        ("fcn8s_atonce_vgg16", 134_362_751),
        ("fcn32s_alexnet", 56_954_261),
        ("fcn32s_googlenet", 6_998_552 - 1_025_000 + 21 * 1025),  # Caffe's with 1000 classes
    ],
)
def test_number_of_parameters(name, count):
    shapes = shapes_of(create_model(name, 21), (64, 64))
    assert set(shapes) == {"params"}
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_learned_upsampling_is_dense():
    """Two 4×4 kernels between all classes are learned; the last upsampling has no parameters."""
    counts = {}
    for stride in (8, 16, 32):
        for upsampling in ("fixed", "learned"):
            shapes = shapes_of(FCNVGG16(21, stride=stride, upsampling=upsampling, width=0.05))
            counts[stride, upsampling] = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    more = {s: counts[s, "learned"] - counts[s, "fixed"] for s in (8, 16, 32)}
    assert more == {8: 2 * 16 * 21 * 21, 16: 16 * 21 * 21, 32: 0}


@pytest.mark.parametrize(
    "how", [{"scales": (0.01, 0.0001)}, {"learned": True}], ids=["at once", "learned"]
)
def test_fcn8s_is_that_of_pytorch(torch, how):
    from against_torch import assert_agrees
    from torch_fcn_variants import FCN8s

    learned = "learned" in how
    name, upsampling = ("fcn8s_vgg16", "learned") if learned else ("fcn8s_atonce_vgg16", "fixed")
    model = create_model(name, 5, width=0.05, fc_channels=400, upsampling=upsampling)
    variables = randomized(shapes_of(model))
    if not learned:  # otherwise an error in a strongly scaled-down score would not show
        for pool, scale in (("score_pool4", 100), ("score_pool3", 10_000)):
            variables["params"][pool]["kernel"] *= scale
    other = FCN8s(5, 0.05, 20, **how).load(variables)
    layers = ["conv1_1", "score_fr", "score_pool4", "score_pool3"]
    layers += ["upscore2", "upscore_pool4"] if learned else []
    assert_agrees(model, variables, other, [(37, 53), (65, 35)], layers)


@pytest.mark.parametrize("norm", [None, pytest.param("batch", marks=slow)])
def test_alexnet_is_that_of_pytorch(torch, norm):
    from against_torch import assert_agrees
    from torch_fcn_variants import AlexNet

    model = FCNAlexNet(5, width=0.1, fc_channels=300, norm=norm)
    variables = randomized(shapes_of(model))
    other = AlexNet(5, (10, 26, 38, 38, 26, 30), norm == "batch").load(variables)
    layers = ["conv1", "conv2", "conv5", "fc6", "score_fr"]
    assert_agrees(model, variables, other, [(37, 53), (75, 35)], layers)


def test_alexnet_without_much_padding_scores_the_same_cells():
    """Scores well inside a large image do not depend on the padding."""
    wide, narrow = (FCNAlexNet(5, width=0.1, fc_channels=300, padding=p) for p in (128, 0))
    x, variables = images(1, (515, 452)), randomized(shapes_of(wide))
    (want,), (got,) = (
        jax.jit(functools.partial(m.apply, method="heads"))(variables, x) for m in (wide, narrow)
    )
    assert want.logits.shape[1] - got.logits.shape[1] == 2
    inside = slice(6, -6)
    assert got.logits[:, inside, inside].shape[1:3] == (4, 2)
    close(got.logits[:, inside, inside], want.logits[:, 7:-7, 7:-7], 1e-5)
    between = slice(None), slice(245, -245), slice(218, -218)
    close(got.upsampled()[between], want.upsampled()[between], 1e-5)


@pytest.mark.nightly  # minutes to compile; a small one is in test_every_network.py
@pytest.mark.parametrize("norm", [None, "batch"])
def test_googlenet_is_that_of_pytorch(torch, norm):
    from against_torch import assert_agrees
    from torch_fcn_variants import GoogLeNet

    model = FCNGoogLeNet(5, width=0.1, norm=norm)
    variables = randomized(shapes_of(model))
    other = GoogLeNet(5, 0.1, norm == "batch").load(variables)
    layers = ["conv1", "conv2", "inception_3b/pool_proj", "inception_5b/5x5", "score_fr"]
    assert_agrees(model, variables, other, [(37, 53), (97, 66)], layers)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("fcn32s_alexnet", {}),
        ("fcn32s_alexnet", {"padding": 99}),
        ("fcn32s_alexnet", {"padding": 98}),
        ("fcn32s_alexnet", {"padding": 0}),
        ("fcn32s_googlenet", {}),
    ],
)
def test_scores_cover_every_image(name, fields):
    model = create_model(name, 2, width=0.02, **fields)
    variables = shapes_of(model, (64, 64))
    least = 63 if fields.get("padding") == 0 else 31
    for n in filter(lambda n: n >= least, [*range(31, 36), 62, 63, 94, 95, 127, 500]):
        x = jax.ShapeDtypeStruct((1, n, 224, 3), jnp.float32)
        assert jax.eval_shape(model.apply, variables, x).shape == (1, n, 224, 2)


@pytest.mark.parametrize(("padding", "stride"), [(100, 8), (1, 8), (100, 16)])
def test_learned_upsampling_starts_as_the_fixed_one(padding, stride):
    fields = {"stride": stride, "padding": padding, "width": 0.05}
    fixed, learned = (FCNVGG16(5, upsampling=u, **fields) for u in ("fixed", "learned"))
    x = images(1, (37, 53))
    variables = randomized(shapes_of(fixed))
    start = jax.jit(learned.init)(jax.random.key(0), x)
    taken, new = transplant(variables, start)
    upscores = ["params/upscore2/kernel", "params/upscore_pool4/kernel"]
    assert new == upscores[: 2 if stride == 8 else 1]
    close(jax.jit(learned.apply)(taken, x), jax.jit(fixed.apply)(variables, x), 1e-5)


def curve(x, axis):
    """The largest second difference along an axis, with zeros around."""
    around = [(2, 2) if i == axis else (0, 0) for i in range(x.ndim)]
    return np.abs(np.diff(np.pad(x, around), 2, axis=axis)).max()


@pytest.mark.parametrize("strides", [(32, 16), (16, 8), (32, 8)])
def test_a_finer_network_starts_from_a_coarser_one(strides):
    """Its fused map is the coarser scores, upsampled; logits differ only by interpolation."""
    coarse, fine = (FCNVGG16(5, stride=s, width=0.05) for s in strides)
    x = images(1, (37, 53))
    variables = randomized(shapes_of(coarse))
    start = jax.jit(fine.init)(jax.random.key(0), x)
    taken, new = transplant(variables, start)
    pools = [p for p, s in (("pool3", 8), ("pool4", 16)) if strides[1] <= s < strides[0]]
    assert new == [f"params/score_{p}/{leaf}" for p in pools for leaf in ("bias", "kernel")]
    assert set(taken["params"]) == set(start["params"])
    (before,) = coarse.apply(variables, x, method="heads")
    (after,) = fine.apply(taken, x, method="heads")

    want, bound = before.logits, 0.0
    for _ in pools:
        bound += (curve(want, 1) + curve(want, 2)) / 8
        size = tuple(2 * n + 2 for n in want.shape[1:3])
        want = bilinear_deconv(want.shape[1:3], size, stride=2, kernel=4)(want)
    close(after.logits, want, 1e-6)
    difference = np.abs(after.upsampled() - before.upsampled())
    assert 0 < difference.max() <= 1.001 * bound


def test_transplant_says_what_is_new():
    batch = FCNVGG16(5, stride=32, width=0.05, norm="batch", padding=1)
    other = FCNVGG16(7, stride=16, width=0.05, norm="batch", padding=1)
    x = images(1, (32, 32))
    source, target = randomized(shapes_of(batch)), jax.jit(other.init)(jax.random.key(0), x)
    taken, new = transplant(source, target)
    assert new == [
        f"params/score_{score}/{leaf}" for score in ("fr", "pool4") for leaf in ("bias", "kernel")
    ]
    for group in ("params", "batch_stats"):
        for name, layer in taken[group].items():
            origin = target if name.startswith("score") else source
            jax.tree.map(np.testing.assert_array_equal, layer, origin[group][name])
    with pytest.raises(InputError, match="nothing|no array"):
        transplant({"params": {}}, target)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(  # test_deconvnet.py has VGG16 as well
            functools.partial(create_model, "fcn8s_vgg16", 5, width=0.05, padding=1, norm="batch"),
            marks=pytest.mark.nightly,
        ),
        functools.partial(create_model, "fcn32s_alexnet", 5, width=0.05),
        pytest.param(
            functools.partial(create_model, "fcn32s_googlenet", 5, width=0.1, norm="batch"),
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["vgg16", "alexnet", "googlenet"],
)
def test_remat_changes_no_value(make):
    x = images(2, (33, 47))
    plain, remat = (make(remat=r, dropout=0.0) for r in (False, True))
    for one, other in zip(
        *(jax.tree.leaves(jax.jit(m.init)(jax.random.key(0), x)) for m in (plain, remat)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    variables = randomized(shapes_of(plain))

    def total(params, model):
        logits, changed = model.apply(
            variables | {"params": params}, x, train=True, mutable=["batch_stats"]
        )
        return (logits**2).mean(), changed

    got = [
        jax.jit(jax.grad(functools.partial(total, model=m), has_aux=True))(variables["params"])
        for m in (plain, remat)
    ]
    norm = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(got[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * norm), *got)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        (
            "fcn8s_vgg16",
            {"pool3": (30, 32), "fuse_pool4": (6, 6), "fuse_pool3": (14, 14), "pool5": (8, 8)},
        ),
        ("fcn32s_alexnet", {"norm1": (28, 30), "pool5": (7, 7), "fc7/out": (2, 2)}),
        ("fcn32s_googlenet", {"norm2": (9, 13), "inception_5b/joined": (1, 1)}),
    ],
)
def test_features(name, want):
    model = create_model(name, 5, width=0.05)
    variables = shapes_of(model)
    x = jax.ShapeDtypeStruct((2, 37, 53, 3), jnp.float32)
    run = functools.partial(model.apply, mutable=["features"])
    _, got = jax.eval_shape(run, variables, x)
    for path, size in want.items():
        array = functools.reduce(lambda tree, key: tree[key], path.split("/"), got["features"])
        assert array.shape[:3] == (2, *size), path
    assert got["features"]["score_fr"]["out"].shape[-1] == 5


def test_fields_of_a_config():
    config = default_config()
    for field, value in {"name": "fcn8s_vgg16", "upsampling": "learned", "remat": True}.items():
        set_field(config, f"model.{field}", value)
    validate(config)
    model = model_from_config(config.model, 5)
    assert (model.upsampling, model.remat, model.at_once) == ("learned", True, False)
    set_field(config, "model.name", "deconvnet_vgg16")
    with pytest.raises(InputError, match="no field 'upsampling'"):
        model_from_config(config.model, 5)
    config = default_config()
    for field, value in {"name": "deconvnet_vgg16", "fc_kernel": 3, "bn_epsilon": 1e-5}.items():
        set_field(config, f"model.{field}", value)
    validate(config)
    model = model_from_config(config.model, 5)
    assert (model.fc_kernel, model.bn_epsilon) == (3, 1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"upsampling": "nearest"}, "'fixed', 'learned'"), ({"stride": 4}, "8, 16, 32")],
)
def test_what_cannot_be_made(fields, message):
    with pytest.raises(InputError, match=message):
        shapes_of(FCNVGG16(5, **fields))
