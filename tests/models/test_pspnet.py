import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import ModelTests, close, images, labels, randomized, trees_close

from jaxseg import create_model
from jaxseg.config import default_config, set_field, validate
from jaxseg.errors import InputError
from jaxseg.losses import cross_entropy
from jaxseg.models import model_from_config
from jaxseg.models.preprocessing import CAFFE_PSPNET, IMAGENET
from jaxseg.models.pspnet import PSPNet
from jaxseg.models.resnet import ResNet
from jaxseg.nn.convolution import ConvNorm
from jaxseg.nn.heads import ScoreHead
from jaxseg.ops import implementation

pytestmark = pytest.mark.slow

narrow = functools.partial(
    create_model, "pspnet_resnet50", num_classes=5, depth=14, width=0.125, dropout=0.0
)
slow = pytest.mark.slow


def shapes_of(model, size=(33, 33)):
    x = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x)


def train(model, variables, x):
    """Both heads' logits in training, and the new statistics."""
    return model.apply(variables, x, train=True, method="heads", mutable=["batch_stats"])


def total(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


class TestPSPNet(ModelTests):
    """A shallow network; the depth does not affect these tests."""

    make = functools.partial(narrow, dropout=0.1)
    size, other_size = (41, 57), (19, 1)


@pytest.mark.parametrize(
    ("depth", "num_classes", "with_aux", "without"),
    [
        (50, 150, 49_180_908, 46_782_550),
        (50, 21, 49_081_578, 46_716_373),
        (50, 19, 49_080_038, 46_715_347),
        (101, 150, 68_173_036, 65_774_678),
        (101, 21, 68_073_706, 65_708_501),
        (101, 19, 68_072_166, 65_707_475),
        (152, 150, 83_816_684, 81_418_326),
        (152, 21, 83_717_354, 81_352_149),
        (152, 19, 83_715_814, 81_351_123),
    ],
)
def test_number_of_parameters(depth, num_classes, with_aux, without):
    """As semseg's network, with and without its auxiliary head."""
    model = create_model(f"pspnet_resnet{depth}", num_classes)
    assert set(shapes := shapes_of(model)) == {"params", "batch_stats"}
    assert total(shapes["params"]) == with_aux
    assert total(shapes["params"]) - total(shapes["params"]["aux"]) == without


def test_blocks_of_resnet269():
    backbone = shapes_of(create_model("pspnet_resnet269", 150))["params"]["backbone"]
    blocks = [[n for n in backbone if n.startswith(f"layer{i}_")] for i in (1, 2, 3, 4)]
    assert [len(names) for names in blocks] == [3, 30, 48, 8]
    assert 3 * sum(map(len, blocks)) + 2 == 269  # with the first convolution and the scores


@pytest.mark.parametrize(
    "fields",
    [
        {},
        pytest.param({"depth": 50}, marks=pytest.mark.optimized),
        pytest.param({"output_stride": 16, "pooling": "max"}, marks=slow),
        pytest.param({"output_stride": 32, "reduce": False}, marks=slow),
        pytest.param({"bins": (4, 1), "stem": "7x7"}, marks=slow),
        pytest.param({"bins": (), "stem": "v1c"}, marks=slow),
        pytest.param({"dilate_first": False, "align_corners": False}, marks=slow),
        pytest.param({"stride_on": "1x1"}, marks=slow),
    ],
    ids=str,
)
def test_logits_and_gradients_are_those_of_pytorch(torch, fields):
    from torch_resnet import PSPNet as Reference

    fields = {"depth": 26, "width": 0.125} | fields
    model = PSPNet(5, **fields)
    variables = randomized(shapes_of(model))
    other = Reference(5, **fields).load(variables)
    for n, size in enumerate([(41, 57), (65, 35)]):
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
        last = other.cls[4]
        close(gradient["head"]["score"]["kernel"], last.weight.grad.permute(2, 3, 1, 0), 1e-4)
        close(gradient["head"]["score"]["bias"], last.bias.grad, 1e-4)
        for layer, theirs in [
            (gradient["backbone"]["conv1"], other.layer0[0]),
            (gradient["backbone"]["layer4_block1"]["conv2"], other.layer4[0].conv2),
        ]:
            close(layer["kernel"], theirs.weight.grad.permute(2, 3, 1, 0), 1e-4)


@pytest.mark.slow
@pytest.mark.optimized
def test_training_is_that_of_pytorch(torch):
    """Both heads, with the batch's own statistics; without dropout, whose masks differ."""
    from torch_resnet import PSPNet as Reference

    fields = {"depth": 26, "width": 0.125}
    model = PSPNet(5, **fields, dropout=0.0)
    variables = randomized(shapes_of(model))
    other = Reference(5, **fields).load(variables).train()
    x, y = images(4, (65, 73)), labels(4, (65, 73), 5)

    @jax.jit
    def run(params):
        def loss(params):
            heads, changed = train(model, variables | {"params": params}, x)
            losses = [h.weight * cross_entropy(h.logits, y, h.upsampling) for h in heads]
            return sum(losses), changed["batch_stats"]

        return jax.value_and_grad(loss, has_aux=True)(params)

    (value, changed), gradient = run(variables["params"])
    y = torch.tensor(y.astype(np.int64))
    main, aux = other.main_aux(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
    want = torch.nn.functional.cross_entropy(main, y, ignore_index=255)
    want = want + 0.4 * torch.nn.functional.cross_entropy(aux, y, ignore_index=255)
    want.backward()
    close(value, want.detach(), 1e-4)
    for layer, theirs in [
        (gradient["head"]["score"], other.cls[4]),
        (gradient["aux"]["score"], other.aux[4]),
        (gradient["level1"], other.ppm.features[0][1]),
        (gradient["backbone"]["conv1"], other.layer0[0]),
    ]:
        close(layer["kernel"], theirs.weight.grad.permute(2, 3, 1, 0), 1e-3)
    for stats, theirs in [
        (changed["backbone"]["conv1"]["bn"], other.layer0[1]),
        (changed["level1"]["bn"], other.ppm.features[0][2]),
        (changed["aux"]["conv"]["bn"], other.aux[1]),
    ]:
        close(stats["mean"], theirs.running_mean, 1e-4)


def test_auxiliary_head_is_for_training_alone():
    model = narrow()
    variables = randomized(shapes_of(model))
    assert "aux" in variables["params"] and "aux" in variables["batch_stats"]
    x = images(2, (25, 33))
    without = {c: {k: v for k, v in tree.items() if k != "aux"} for c, tree in variables.items()}
    (head,) = jax.jit(functools.partial(model.apply, method="heads"))(without, x)
    assert head.weight == 1
    main, aux = jax.eval_shape(functools.partial(train, model), variables, x)[0]
    assert (main.weight, aux.weight) == (1, 0.4)
    assert main.logits.shape == aux.logits.shape == head.logits.shape == (2, 4, 5, 5)
    assert main.upsampling == aux.upsampling == head.upsampling


def test_remat_changes_nothing_but_memory():
    model = narrow()
    variables = randomized(shapes_of(model))
    again = narrow(remat=True)
    assert jax.tree.structure(shapes_of(again)) == jax.tree.structure(variables)
    x = images(2, (25, 33))

    def gradient(model, params):
        def loss(params):
            heads, changed = train(model, variables | {"params": params}, x)
            return sum((h.logits**2).mean() for h in heads), changed

        return jax.grad(loss, has_aux=True)(params)

    run = jax.jit(gradient, static_argnums=0)
    got, want = run(again, variables["params"]), run(model, variables["params"])
    trees_close(got[1], want[1], 1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(want[0]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * largest),
        got[0],
        want[0],
    )
    with implementation("reference"):
        computed_again, kept = (
            str(jax.make_jaxpr(functools.partial(gradient, m))(variables["params"])).count(
                "differentiated=True"
            )
            for m in (again, model)
        )
    assert (computed_again, kept) == (4, 0)  # one for each block


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("pixels", [1, 8, 33, 473, 713])
def test_size_of_the_scores(output_stride, pixels):
    """Each stride rounds up: 473 pixels give 60 cells at stride 8, and 713 give 90."""
    model = create_model("pspnet_resnet50", 2, depth=14, output_stride=output_stride)
    x = jax.ShapeDtypeStruct((1, pixels, 9, 3), jnp.float32)
    variables = shapes_of(model)
    (head,) = jax.eval_shape(functools.partial(model.apply, method="heads"), variables, x)
    assert head.logits.shape[1] == -(-pixels // output_stride)
    assert head.upsampling.out_size == (pixels, 9)


@pytest.mark.parametrize("fields", [{}, {"stem": "7x7", "align_corners": True}], ids=str)
def test_logits_are_those_of_mmsegmentation(torch, fields):
    from torch_mmseg import MMSeg

    fields = {"depth": 26, "width": 0.125, "stem": "v1c", "align_corners": False} | fields
    model = PSPNet(5, **fields, dilate_first=False)
    variables = randomized(shapes_of(model))
    other = MMSeg("psp", 5, **fields).load(variables)
    for size in (41, 57), (65, 35):
        x = images(2, size)
        want, _ = other.main_aux(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
        close(jax.jit(model.apply)(variables, x), want.detach().permute(0, 2, 3, 1), 1e-4)


def test_cells_lie_on_every_eighth_pixel():
    model = narrow()
    x = jax.ShapeDtypeStruct((1, 473, 713, 3), jnp.float32)
    (head,) = jax.eval_shape(functools.partial(model.apply, method="heads"), shapes_of(model), x)
    for matrix, cells in zip(head.upsampling.matrices(), (60, 90), strict=True):
        np.testing.assert_allclose(matrix[::8], np.eye(cells), atol=1e-5)


def test_features_by_name():
    model = create_model("pspnet_resnet50", 21)
    x = jax.ShapeDtypeStruct((1, 473, 473, 3), jnp.float32)
    run = functools.partial(model.apply, mutable=["features"])
    shapes = jax.tree.map(lambda leaf: leaf.shape[1:], jax.eval_shape(run, shapes_of(model), x)[1])
    features = shapes["features"]
    backbone, head = features.pop("backbone"), features.pop("head")
    assert {name: shape for name, shape in backbone.items() if type(shape) is tuple} == {
        "stem": (237, 237, 128),
        "pool": (119, 119, 128),
        "layer1": (119, 119, 256),
        "layer2": (60, 60, 512),
        "layer3": (60, 60, 1024),
        "layer4": (60, 60, 2048),
    }
    assert backbone["layer4_block3"] == {
        "conv1": {"out": (60, 60, 512)},
        "conv2": {"out": (60, 60, 512)},
        "conv3": {"out": (60, 60, 2048)},
        "out": (60, 60, 2048),
    }
    assert head == {"conv": {"out": (60, 60, 512)}, "score": {"out": (60, 60, 21)}}
    assert features.pop("pyramid") == (60, 60, 4096)
    for b in (1, 2, 3, 6):
        assert features.pop(f"level{b}") == {"out": (b, b, 512)}
        assert features.pop(f"level{b}_pooled") == (b, b, 512)
        assert features.pop(f"level{b}_upsampled") == (60, 60, 512)
    assert not features


def test_features_are_the_networks_own():
    """The pyramid's first channels are the trunk's; a 1×1 level is constant over the map."""
    model = narrow(bins=(1, 3), reduce=False)
    variables = randomized(shapes_of(model))
    run = jax.jit(functools.partial(model.apply, mutable=["features"]))
    features = run(variables, images(1, (57, 33)))[1]["features"]
    trunk = features["backbone"]["layer4"]
    np.testing.assert_array_equal(features["pyramid"][..., : trunk.shape[-1]], trunk)
    close(features["level1_pooled"], trunk.mean((1, 2), keepdims=True), 1e-5)
    close(features["level1_upsampled"], 0 * trunk + features["level1_pooled"], 1e-6)


@pytest.mark.parametrize(("mode", "together"), [("element", False), ("channel", True)])
def test_dropout_drops(mode, together):
    """The score kernel is the identity, so the scores show the dropped values."""
    head = ScoreHead(6, 6, dropout=0.5, dropout_mode=mode)
    x = images(8, (4, 4)) / 60
    variables = head.init(jax.random.key(0), x)
    params = variables["params"]
    params["conv"]["bn"]["bias"] += 100.0  # so that only dropped values are zero
    params["score"]["kernel"] = jnp.eye(6).reshape(1, 1, 6, 6)
    assert (head.apply(variables, x) != 0).all()

    def run(key):
        rngs = {"dropout": jax.random.key(key)}
        return head.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    kept = np.asarray(run(0) != 0)
    assert 0 < kept.mean() < 1
    whole = (kept == kept[:, :1, :1]).all((1, 2))
    assert whole.all() if together else not whole.any()
    assert (run(0) == run(0)).all() and (run(0) != run(1)).any()


def test_batch_norm_keeps_a_fraction_of_its_statistics():
    layer = ConvNorm(4, bn_momentum=0.75)
    x = images(2, (5, 6))
    variables = randomized(jax.eval_shape(layer.init, jax.random.key(0), x))
    _, changed = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    y = x @ variables["params"]["kernel"][0, 0]
    old, new = (v["batch_stats"]["bn"] for v in (variables, changed))
    close(new["mean"], 0.75 * old["mean"] + 0.25 * y.mean((0, 1, 2)), 1e-5)
    close(new["var"], 0.75 * old["var"] + 0.25 * y.var((0, 1, 2)), 1e-4)


def test_one_image_alone_cannot_train_the_level_of_one_window():
    model = narrow()
    variables, x = shapes_of(model), images(1, (33, 33))
    with pytest.raises(InputError, match="at least 2"):
        jax.eval_shape(functools.partial(train, model), variables, x)
    jax.eval_shape(functools.partial(train, model), variables, images(2, (33, 33)))
    for fields in ({"bins": (2, 3)}, {"reduce": False}):
        model = narrow(**fields)
        jax.eval_shape(functools.partial(train, model), shapes_of(model), x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 17}, "depth is 17. Choose one of 18, 34, .*50, 101, 152, 269"),
        ({"dilations": (1, 2)}, "dilations is"),
        ({"output_stride": 4}, "output_stride is 4. Choose one of 8, 16, 32"),
        ({"stride_on": "2x2"}, "stride_on is '2x2'"),
        ({"pooling": "mean"}, "Choose one of 'avg', 'max'"),
        ({"bins": (1, 0)}, "1 or more"),
        ({"bins": (2, 2)}, "distinct"),
        ({"dropout_mode": "pixel"}, "'element', 'channel'"),
    ],
)
def test_fields_that_cannot_be(fields, message):
    with pytest.raises(InputError, match=message):
        shapes_of(narrow(**fields))


def test_unknown_stem():
    with pytest.raises(InputError, match="'deep', 'v1c', '7x7'"):
        jax.eval_shape(ResNet(stem="5x5").init, jax.random.key(0), images(1, (9, 9)))


def test_preprocessing_is_that_of_the_published_weights():
    assert narrow().preprocessing == IMAGENET
    assert narrow(stride_on="1x1").preprocessing == CAFFE_PSPNET
    np.testing.assert_allclose(np.divide(IMAGENET.mean, 255), (0.485, 0.456, 0.406))
    np.testing.assert_allclose(np.divide(IMAGENET.std, 255), (0.229, 0.224, 0.225))


def test_every_field_from_a_config():
    fields = {
        "output_stride": 16,
        "bins": (1, 4),
        "pooling": "max",
        "reduce": False,
        "stem": "v1c",
        "stride_on": "1x1",
        "dilate_first": False,
        "align_corners": False,
        "aux_weight": 0.3,
        "dropout": 0.2,
        "dropout_mode": "element",
        "bn_momentum": 0.95,
        "remat": True,
    }
    config = default_config()
    config.model.name = "pspnet_resnet50"
    published = model_from_config(config.model, 5)
    assert published == PSPNet(5)
    for name, value in fields.items():
        assert getattr(published, name) != value
        set_field(config, f"model.{name}", value)
    validate(config)
    model = model_from_config(config.model, 5)
    assert {name: getattr(model, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("name", "value"),
    [("output_stride", 4), ("bins", (0, 1)), ("bins", (2, 2)), ("bn_momentum", 1.0)],
)
def test_config_refuses(name, value):
    config = default_config()
    set_field(config, "model.name", "pspnet_resnet50")
    set_field(config, f"model.{name}", value)
    with pytest.raises(InputError, match=f"model.{name}"):
        validate(config)
