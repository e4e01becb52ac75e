import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import ModelTests, close, images, labels, randomized

from jaxseg import create_model
from jaxseg.config import default_config, set_field, validate
from jaxseg.errors import InputError
from jaxseg.losses import cross_entropy
from jaxseg.models import model_from_config
from jaxseg.models.fcn_resnet import FCNResNet
from jaxseg.models.preprocessing import IMAGENET

pytestmark = pytest.mark.slow

narrow = functools.partial(create_model, "fcn_resnet50", num_classes=5, depth=14, width=0.125)
slow = pytest.mark.slow


def shapes_of(model, size=(33, 33)):
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x)


@pytest.mark.slow
class TestFCNResNet(ModelTests):
    make = narrow
    size, other_size = (33, 41), (3, 17)


@pytest.mark.parametrize(("depth", "parameters"), [(50, 35_322_218), (101, 54_314_346)])
def test_number_of_parameters(depth, parameters):
    """The numbers on torchvision's page, including the auxiliary head."""
    shapes = shapes_of(create_model(f"fcn_resnet{depth}", 21))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters


@pytest.mark.parametrize("depth", [50, 101])
def test_number_of_parameters_is_that_of_pytorch(torch, depth):
    from torch_resnet import FCNResNet as Reference

    with torch.device("meta"):
        other = Reference(21, depth)
    shapes = shapes_of(create_model(f"fcn_resnet{depth}", 21))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert parameters == sum(p.numel() for p in other.parameters())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        pytest.param({"depth": 50}, marks=slow),
        pytest.param({"output_stride": 16}, marks=slow),
        pytest.param({"output_stride": 32}, marks=slow),
    ],
    ids=str,
)
def test_logits_and_gradients_are_those_of_pytorch(torch, fields):
    from torch_resnet import FCNResNet as Reference

    fields = {"depth": 26, "width": 0.125} | fields
    model = FCNResNet(5, **fields)
    variables = randomized(shapes_of(model))
    other = Reference(5, **fields).load(variables)
    for n, size in enumerate([(41, 57), (65, 34)]):
        x, y = images(2, size, seed=n), labels(2, size, 5, seed=n)

        @jax.jit
        def run(params, x=x, y=y):
            def loss(params):
                (head,) = model.apply(variables | {"params": params}, x, method="heads")
                return cross_entropy(head.logits, y, head.upsampling), head.upsampled()

            return jax.grad(loss, has_aux=True)(params)

        gradient, logits = run(variables["params"])
        want, _ = other.main_aux(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
        close(logits, want.detach().permute(0, 2, 3, 1), 1e-4)
        other.zero_grad()
        y = torch.tensor(y.astype(np.int64))
        torch.nn.functional.cross_entropy(want, y, ignore_index=255).backward()
        last = other.classifier[4]
        close(gradient["head"]["score"]["kernel"], last.weight.grad.permute(2, 3, 1, 0), 1e-4)
        close(gradient["head"]["score"]["bias"], last.bias.grad, 1e-4)
        for layer, theirs in [
            (gradient["backbone"]["conv1"], other.backbone.conv1),
            (gradient["backbone"]["layer4_block1"]["conv2"], other.backbone.layer4[0].conv2),
        ]:
            close(layer["kernel"], theirs.weight.grad.permute(2, 3, 1, 0), 1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        {"stem": "v1c", "head_convs": 2, "concat_input": True},
        {"stem": "7x7", "head_convs": 3, "concat_input": False, "output_stride": 16},
        {"stem": "deep", "head_convs": 1, "concat_input": True, "align_corners": True},
        {"stem": "v1c", "head_convs": 2, "concat_input": True, "head_dilation": 3},
    ],
    ids=str,
)
def test_logits_are_those_of_mmsegmentation(torch, fields):
    from torch_mmseg import MMSeg

    fields = {"depth": 26, "width": 0.125} | fields
    model = FCNResNet(5, **fields)
    variables = randomized(shapes_of(model))
    other = MMSeg("fcn", 5, **fields).load(variables)
    for size in (41, 57), (65, 34):
        x = images(2, size)
        want, _ = other.main_aux(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
        close(jax.jit(model.apply)(variables, x), want.detach().permute(0, 2, 3, 1), 1e-4)


def test_heads_and_their_weights():
    """The resize uses half-pixel centres as torchvision does, not corners as PSPNet does."""
    model = narrow(dropout=0.0)
    x = jax.ShapeDtypeStruct((2, 30, 44, 3), jnp.float32)
    run = functools.partial(model.apply, method="heads", mutable=["batch_stats"])
    main, aux = jax.eval_shape(functools.partial(run, train=True), shapes_of(model), x)[0]
    assert (main.weight, aux.weight) == (1, 0.5)
    assert main.logits.shape == aux.logits.shape == (2, 4, 6, 5)
    rows, columns = main.upsampling.matrices()
    assert rows.shape == (30, 4) and columns.shape == (44, 6)
    position = columns @ np.arange(6)
    np.testing.assert_allclose(position[10:34], (np.arange(10, 34) + 0.5) * 6 / 44 - 0.5, atol=1e-5)
    assert len(jax.eval_shape(run, shapes_of(model), x)[0]) == 1


def test_fields_that_cannot_be():
    assert narrow().preprocessing == IMAGENET
    with pytest.raises(InputError, match="8, 16, 32"):
        shapes_of(narrow(output_stride=64))
    with pytest.raises(InputError, match="no field 'bins'"):
        narrow(bins=(1, 2))
    with pytest.raises(InputError, match="head_convs is 0. Give 1 or more"):
        shapes_of(narrow(head_convs=0))


def test_every_field_from_a_config():
    fields = {
        "stem": "v1c",
        "head_convs": 2,
        "concat_input": True,
        "head_dilation": 6,
        "align_corners": True,
    }
    config = default_config()
    config.model.name = "fcn_resnet50"
    published = model_from_config(config.model, 5)
    assert published == FCNResNet(5)
    for name, value in fields.items():
        assert getattr(published, name) != value
        set_field(config, f"model.{name}", value)
    validate(config)
    model = model_from_config(config.model, 5)
    assert {name: getattr(model, name) for name in fields} == fields
    with pytest.raises(InputError, match="model.head_convs"):
        set_field(config, "model.head_convs", 0)
        validate(config)
