import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import ModelTests, close, images, init_key, labels, randomized

from jaxseg import create_model
from jaxseg.errors import InputError
from jaxseg.losses import cross_entropy
from jaxseg.models.fcn import FCNVGG16
from jaxseg.nn.alignment import Grid
from jaxseg.nn.convolution import ConvBlock

narrow = functools.partial(create_model, "fcn8s_vgg16", num_classes=5, width=0.05)


class TestSmallFCN8s(ModelTests):
    """The quickstart's variant: batch norm, and every layer keeps its input's size."""

    make = functools.partial(narrow, norm="batch", padding=1)
    size, other_size = (33, 47), (16, 9)

    def test_scores_start_at_zero_and_so_do_logits(self, model, init):
        x = images(4, self.size)
        variables = init(init_key(0), x[:1])
        for name, layer in variables["params"].items():
            assert (layer["bias"] == 0).all()
            assert (layer["kernel"] == 0).all() == name.startswith("score"), name
        assert (jax.jit(model.apply)(variables, x) == 0).all()


@pytest.mark.slow
class TestReleasedFCN8s(ModelTests):
    """fc6 does not pad, as released; with a padding of 100 no image would be too small."""

    make = functools.partial(narrow, padding=85)
    size, other_size, too_small = (37, 53), (64, 41), (16, 16)


slow = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("padding", "norm", "stride"),
    [
        (100, None, 8),
        (1, "batch", 8),
        (1, None, 8),
        (100, "batch", 8),
        (100, "batch", 16),
        (1, None, 16),
        (100, None, 32),
        (1, "batch", 32),
    ],
)
def test_logits_and_gradients_are_those_of_pytorch(torch, padding, norm, stride):
    from torch_fcn import FCN

    size = [(37, 53), (65, 35)]
    model = FCNVGG16(5, stride=stride, width=0.05, padding=padding, norm=norm)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images(1, size[0]))
    variables = randomized(shapes)
    fc = variables["params"]["fc6"]["bias"].size
    other = FCN(5, 0.05, fc, stride, norm == "batch", padding == 100).load(variables)

    def loss(params, x, y):
        (head,) = model.apply(variables | {"params": params}, x, method="heads")
        return cross_entropy(head.logits, y, head.upsampling), head.upsampled()

    x, y = images(2, size[0]), labels(2, size[0], 5)
    gradient, logits = jax.jit(jax.grad(loss, has_aux=True))(variables["params"], x, y)
    want = other(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
    close(logits, want.detach().permute(0, 2, 3, 1), 1e-4)
    y = torch.tensor(y.astype(np.int64))
    torch.nn.functional.cross_entropy(want, y, ignore_index=255).backward()
    for name, layer in [(n, other.convs[n]) for n in ("conv1_1", "fc6")] + [*other.scores.items()]:
        close(gradient[name]["kernel"], layer.weight.grad.permute(2, 3, 1, 0), 1e-4)
        if name.startswith("score"):
            close(gradient[name]["bias"], layer.bias.grad, 1e-4)

    x = images(2, size[1], seed=1)
    with torch.no_grad():
        want = other(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
    close(jax.jit(model.apply)(variables, x), want.permute(0, 2, 3, 1), 1e-4)


@pytest.mark.parametrize(
    ("stride", "scores"), [(8, 4097 + 513 + 257), (16, 4097 + 513), (32, 4097)]
)
def test_number_of_parameters(stride, scores):
    """VGG16's 134,260,544, plus one weight per channel and a bias for each of 21 scores."""
    model = FCNVGG16(21, stride=stride)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert total == 134_260_544 + 21 * scores
    assert (total == 134_362_751) == (stride == 8)


@pytest.mark.slow
def test_kernels_start_as_he_has_it():
    """He's variance of 2 over a convolution's number of inputs: activations keep their size."""
    for kernel, channels in ((3, 64), (1, 500)):
        variables = ConvBlock(64, kernel).init(jax.random.key(0), jnp.zeros((1, 9, 9, channels)))
        variance = float(variables["params"]["kernel"].var())
        assert variance * kernel**2 * channels == pytest.approx(2, rel=0.1)


def conv(x, kernel, stride=1, padding=0):
    return x.window(kernel, stride, padding)


def test_offsets_are_the_released_ones():
    image = Grid()
    pools, x = {}, conv(image, 3, padding=100)
    for block in range(1, 6):
        pools[block] = x = x.pool()
    score = conv(x, 7)
    assert score.deconv(64, 32).offset_of(image) == 19
    up2 = score.deconv(4, 2)
    assert pools[4].offset_of(up2) == 5
    assert up2.deconv(32, 16).offset_of(image) == 27
    up4 = up2.deconv(4, 2)
    assert pools[3].offset_of(up4) == 9
    assert up4.deconv(16, 8).offset_of(image) == 31


def test_offset_of_alexnet():
    x = conv(Grid(), 11, 4, 100)
    for kernel, stride, padding in [(3, 2, 0), (5, 1, 2), (3, 2, 0), *[(3, 1, 1)] * 3, (3, 2, 0)]:
        x = conv(x, kernel, stride, padding)
    score = conv(x, 6)
    assert score.deconv(63, 32).offset_of(Grid()) == 18
    with pytest.raises(InputError, match="cells apart"):
        score.deconv(64, 32).offset_of(Grid())  # 18.5
    with pytest.raises(InputError, match="cells apart"):
        score.offset_of(Grid())


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("stride", [8, 32])
@pytest.mark.parametrize(
    "padding", [0, 80, 81, *(pytest.param(p, marks=slow) for p in (1, 2, 5, 30, 50, 99, 100))]
)
def test_every_padding_covers_the_image(padding, stride):
    """For any size, the upsampled scores cover the whole image."""
    model = FCNVGG16(2, stride=stride, width=0.02, padding=padding)
    for size in ((33, 64), (34, 48), (65, 63)):
        x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
        assert logits.shape == (1, *size, 2)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 1)])
@pytest.mark.parametrize("padding", [1, 100])
def test_tiny_images(size, padding):
    model = narrow(padding=padding)
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert logits.shape == (1, *size, 5)


def test_image_too_small_for_fc6():
    """fc6 does not pad, as released, if the image is padded by more than 80."""
    model = narrow(padding=85)
    with pytest.raises(InputError, match="fc6.*larger"):
        jax.eval_shape(model.init, jax.random.key(0), images(1, (16, 16)))


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    model = narrow(padding=1, dropout=0.5)
    x = images(1, (33, 47))
    variables = randomized(jax.eval_shape(model.init, jax.random.key(0), x))

    @functools.partial(jax.jit, static_argnames="train")
    def run(key, train):
        return model.apply(variables, x, train=train, rngs={"dropout": jax.random.key(key)})

    assert (run(0, False) == run(1, False)).all()
    assert (run(0, True) == run(0, True)).all()
    assert (run(0, True) != run(1, True)).any()
    assert (run(0, True) != run(0, False)).any()


@pytest.mark.slow
def test_batch_norm_normalises_by_the_batch_in_training():
    """New running statistics are 0.9 of the old and 0.1 of the batch's."""
    model = narrow(padding=1, norm="batch")
    x = images(3, (32, 32)) + 20
    variables = randomized(jax.eval_shape(model.init, jax.random.key(0), x))
    _, changed = jax.jit(
        functools.partial(
            model.apply, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
        )
    )(variables, x)
    p = variables["params"]["conv1_1"]
    y = jax.lax.conv_general_dilated(
        x, p["kernel"], (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y = y + p["bias"]
    old, new = (v["batch_stats"]["conv1_1"]["bn"] for v in (variables, changed))
    close(new["mean"], 0.9 * old["mean"] + 0.1 * y.mean((0, 1, 2)), 1e-5)
    close(new["var"], 0.9 * old["var"] + 0.1 * y.var((0, 1, 2)), 1e-4)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("fcn8_vgg16", {}, "fcn8s_vgg16"),
        ("resnet", {}, "no model 'resnet'"),
        ("fcn8s_vgg16", {"widht": 0.5}, "'width'"),
        ("fcn8s_vgg16", {"parent": None}, "no field"),
        ("fcn8s_vgg16", {"num_classes": 1}, "at least 2"),
        ("fcn8s_vgg16", {"num_classes": 0}, "at least 2"),
    ],
)
def test_what_cannot_be_made(name, fields, message):
    with pytest.raises(InputError, match=message):
        create_model(name, **{"num_classes": 5} | fields)


def test_unknown_norm():
    model = narrow(norm="layer", padding=1)
    with pytest.raises(InputError, match="'layer'"):
        jax.eval_shape(model.init, jax.random.key(0), images(1, (32, 32)))
