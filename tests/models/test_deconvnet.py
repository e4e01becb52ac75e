import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import ModelTests, close, images, randomized

from jaxseg import create_model
from jaxseg.errors import InputError
from jaxseg.models.deconvnet import DeconvNet
from jaxseg.nn.convolution import ConvBlock
from jaxseg.ops import max_unpool
from jaxseg.ops.deconvolution import deconv2d

pytestmark = pytest.mark.slow

narrow = functools.partial(create_model, "deconvnet_vgg16", num_classes=5, width=0.05, fc_kernel=2)


def shapes_of(model, size=(64, 64)):
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x)


class TestDeconvNet(ModelTests):
    """With a smaller fc6, which allows smaller images."""

    make = functools.partial(narrow, bn_epsilon=1e-5)
    size, other_size, too_small = (64, 96), (128, 64), (32, 64)
    bfloat16_outliers = 0.1
    # noise of 1e-7 in the images changes two thirds of the gradient's arrays by more than 1e-3
    gradient_jumps = 0.05


@pytest.mark.parametrize(
    ("fc_kernel", "sizes"),
    [(2, [(64, 96), (128, 64)]), pytest.param(7, [(224, 256)], marks=pytest.mark.slow)],
)
def test_logits_and_gradients_are_those_of_pytorch(torch, fc_kernel, sizes):
    """Deconvolution kernels are random, so that a missing flip is detected."""
    from against_torch import assert_agrees
    from torch_deconvnet import DeconvNet as Reference

    model = DeconvNet(5, width=0.05, fc_kernel=fc_kernel)
    variables = randomized(shapes_of(model, sizes[0]))
    other = Reference(5, 0.05, fc_kernel).load(variables)
    layers = ["conv1_1", "fc6", "fc6_deconv", "deconv5_1", "deconv1_2", "score"]
    assert_agrees(model, variables, other, sizes, layers, inner=2e-4)


def test_number_of_parameters():
    """The released layer table gives 251,772,245, plus 33,408 of batch norm."""
    shapes = shapes_of(create_model("deconvnet_vgg16", 21), (224, 224))
    leaves = jax.tree_util.tree_leaves_with_path(shapes["params"])
    norm = sum(leaf.size for path, leaf in leaves if path[-2].key == "bn")
    assert norm == 33_408
    assert sum(leaf.size for _, leaf in leaves) == 251_805_653
    assert len(shapes["batch_stats"]) == 29


@pytest.mark.parametrize("decoder_init", ["gaussian", "he"])
def test_start(decoder_init):
    """Batch norm shifts of 0.001, gaussian kernels in the decoder (section 4 of the paper)."""
    model = narrow(width=0.2, decoder_init=decoder_init)
    params = jax.jit(model.init)(jax.random.key(0), images(1, (64, 64)))["params"]
    for name, layer in params.items():
        assert (layer["bias"] == 0).all()
        if name != "score":
            assert (layer["bn"]["scale"] == 1).all()
            np.testing.assert_allclose(layer["bn"]["bias"], 0.001)
        decoder = "deconv" in name or name == "score"
        fan_in = np.prod(layer["kernel"].shape[:-1])
        std = 0.01 if decoder and decoder_init == "gaussian" else np.sqrt(2 / fan_in)
        assert float(layer["kernel"].std()) == pytest.approx(std, rel=0.25), name


def test_smoothing_kernels_fill_what_unpooling_leaves_empty():
    """Before training, without batch norm, they give a blurred copy of the unpooled map."""
    params = jax.jit(narrow(width=0.2, decoder_init="smoothing").init)(
        jax.random.key(0), images(1, (64, 64))
    )["params"]
    pooled = np.random.default_rng(0).uniform(1, 2, (1, 5, 6, 1)).astype(np.float32)
    corner = 2 * np.arange(5)[:, None] * 12 + 2 * np.arange(6)  # the upper left of each window
    unpooled = max_unpool(pooled, corner.astype(np.int32)[None, :, :, None], (10, 12))
    for name, layer in params.items():
        kernel = layer["kernel"]
        if "deconv" not in name or name == "fc6_deconv":
            continue
        inputs, outputs = kernel.shape[2:]
        handed_on = np.array([[c % outputs == d % inputs or c % inputs == d % outputs
                               for d in range(outputs)] for c in range(inputs)])  # fmt: skip
        noise = float(kernel[:, :, ~handed_on].std())
        assert noise == pytest.approx(0.3 * np.sqrt(2 / (9 * inputs)), rel=0.1), name
        assert handed_on.sum() == max(inputs, outputs)
        mean = kernel[:, :, handed_on].mean(axis=-1)
        hat = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])
        np.testing.assert_allclose(mean, hat, atol=5 * noise / np.sqrt(max(inputs, outputs)))
        # a deconvolution of one channel interpolates linearly: the values, and means between them
        wide = deconv2d(unpooled, jnp.asarray(hat, jnp.float32)[:, :, None, None], padding=1)
        full = wide[0, :, :, 0]
        np.testing.assert_allclose(full[::2, ::2], pooled[0, :, :, 0], rtol=1e-6)
        np.testing.assert_allclose(
            full[1:-1:2, ::2] * 2, pooled[0, 1:, :, 0] + pooled[0, :-1, :, 0], rtol=1e-6
        )


def test_epsilon_is_added_to_the_variance():
    assert DeconvNet(5).bn_epsilon == 1e-9
    block = ConvBlock(1, 1, 0, "batch", bn_epsilon=3.0)
    x = jnp.array([2.0, 5.0]).reshape(1, 1, 2, 1)
    variables = {
        "params": {
            "kernel": jnp.ones((1, 1, 1, 1)),
            "bias": jnp.zeros(1),
            "bn": {"scale": jnp.ones(1), "bias": jnp.zeros(1)},
        },
        "batch_stats": {"bn": {"mean": jnp.ones(1), "var": jnp.ones(1)}},
    }
    np.testing.assert_allclose(block.apply(variables, x).ravel(), [0.5, 2.0])


def test_features_are_those_of_figure_4():
    """Unpooled maps hold each cell's value at its pooling index, and zeros elsewhere."""
    model = narrow()
    x = images(1, (64, 96))
    variables = randomized(shapes_of(model))
    _, got = jax.jit(functools.partial(model.apply, mutable=["features"]))(variables, x)
    features = got["features"]
    for block, stride in enumerate((1, 2, 4, 8, 16), 1):
        size = (64 // stride, 96 // stride)
        unpooled = features[f"unpool{block}"]
        assert unpooled.shape[1:3] == size
        assert features[f"pool{block}"].shape[1:3] == (size[0] // 2, size[1] // 2)
        last = 2 if block < 3 else 3
        assert features[f"deconv{block}_{last}"]["out"].shape[1:3] == size
        windows = unpooled.reshape(1, size[0] // 2, 2, size[1] // 2, 2, -1)
        assert ((windows != 0).sum((2, 4)) <= 1).all()
    before = features["fc6_deconv"]["out"]
    windows = features["unpool5"].reshape(1, 2, 2, 3, 2, -1)
    np.testing.assert_array_equal(windows.sum((2, 4)), before)


@pytest.mark.slow
def test_unpooling_as_a_scatter_gives_the_same_logits(monkeypatch):
    """Both forms give the same logits, bit for bit."""
    model, x = narrow(), images(2, (64, 96))
    variables = randomized(shapes_of(model))
    want = model.apply(variables, x)

    def scatter(values, indices, size, in_place):
        return max_unpool(values, indices, size, in_place=False)

    monkeypatch.setattr("jaxseg.models.deconvnet.max_unpool", scatter)
    np.testing.assert_array_equal(model.apply(variables, x), want)


@pytest.mark.nightly
def test_remat_changes_no_value():
    x = images(1, (64, 64))
    variables = randomized(shapes_of(narrow()))

    def total(params, remat):
        model = narrow(remat=remat)
        return (model.apply(variables | {"params": params}, x) ** 2).mean()

    grads = [
        jax.jit(jax.grad(functools.partial(total, remat=remat)))(variables["params"])
        for remat in (False, True)
    ]
    norm = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * norm), *grads)


@pytest.mark.parametrize(
    ("size", "fields", "fitting"),
    [
        ((200, 300), {}, "224×288 or 224×320"),
        ((250, 224), {}, "224×224 or 256×224"),
        ((100, 100), {}, "to 224×224, or larger"),
        ((96, 70), {"fc_kernel": 3}, "to 96×96, or larger"),
        ((65, 95), {"fc_kernel": 2}, "64×64 or 96×96"),
    ],
)
def test_sizes_that_do_not_fit(size, fields, fitting):
    model = DeconvNet(5, width=0.05, **fields)
    with pytest.raises(InputError, match=fitting):
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *size, 3), "f4"))


@pytest.mark.parametrize("size", [(224, 224), (224, 256), (352, 480), (512, 512)])
def test_multiples_of_32(size):
    model = DeconvNet(5, width=0.05)
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    variables = shapes_of(model, (224, 224))
    (head,) = jax.eval_shape(functools.partial(model.apply, method="heads"), variables, x)
    assert head.logits.shape == (1, *size, 5)
    assert head.upsampling.in_size == head.upsampling.out_size == size


def test_heads_need_no_upsampling():
    model, x = narrow(), images(1, (64, 64))
    variables = randomized(shapes_of(model))
    (head,) = model.apply(variables, x, method="heads")
    close(head.upsampled(), head.logits, 1e-6)
