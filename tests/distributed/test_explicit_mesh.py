"""Losses, metrics, ops and networks on the meshes of `jax.set_mesh`, and inside `shard_map`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxseg
from jaxseg import losses, metrics, ops
from jaxseg.ops.adaptive_pooling import adaptive_avg_pools

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((8, 8, 8, 3)).astype(np.float32)
LABELS = RNG.integers(0, 3, (8, 8, 8)).astype(np.uint8)
LABELS[:, 0] = 255
LOSSES = ("cross_entropy", "focal", "dice", "lovasz", "ohem")


def unpooled(x):
    values, indices = ops.max_pool_with_argmax(x, 2, 2)
    return ops.max_unpool(values, indices, x.shape[1:3])


FUNCTIONS = {
    **{name: getattr(losses, name) for name in LOSSES},
    "gradient": jax.grad(losses.cross_entropy),
    "upsampled": lambda x, y: losses.cross_entropy(
        x[:, :4, :4], y, upsample=ops.half_pixel((4, 4), (8, 8))
    ),
    "confusion": lambda x, y: metrics.confusion_matrix(y, x.argmax(-1), 3),
    "labels": lambda x, y: metrics.predict_labels(x, ops.half_pixel((8, 8), (16, 16))),
    "coarse": lambda x, y: metrics.coarse_confusion(x, y, ops.half_pixel((8, 8), (8, 8))),
    "pool": lambda x, y: ops.max_pool(x, 2, 2),
    "unpool": lambda x, y: unpooled(x),
    "unpool's gradient": jax.grad(lambda x, y: jnp.square(unpooled(x)).sum()),
    "pyramid": lambda x, y: adaptive_avg_pools(x, (1, 2, 3)),
    "maximum": lambda x, y: ops.adaptive_max_pool(x, 3),
    "resize": lambda x, y: ops.resize_bilinear(x, (5, 7), align_corners=True),
    "normalised": lambda x, y: ops.local_response_norm(x),
}


def mesh_of(devices, kind):
    return jax.make_mesh((devices,), ("data",), axis_types=(kind,), devices=jax.devices()[:devices])


def on_mesh(function, mesh, whole, *split):
    with jax.set_mesh(mesh):
        batch, same = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
        return jax.jit(function)(
            *jax.device_put(whole, same), *(jax.device_put(a, batch) for a in split)
        )


def assert_close(got, want, tolerance=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance
        ),
        got,
        want,
    )


@pytest.mark.default_cases(6)
@pytest.mark.parametrize("devices", [2, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind", [AxisType.Explicit, pytest.param(AxisType.Auto, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_equal_those_of_one_device(name, kind, devices):
    function = FUNCTIONS[name]
    want = jax.jit(function)(LOGITS, LABELS)
    assert_close(on_mesh(function, mesh_of(devices, kind), (), LOGITS, LABELS), want)


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("name", [*LOSSES, "gradient", "confusion", "coarse", "unpool"])
def test_inside_shard_map_each_device_sees_its_part(name):
    function, mesh = FUNCTIONS[name], mesh_of(2, AxisType.Auto)

    def each(x, y):
        return jax.tree.map(lambda a: a[None], function(x, y))

    mapped = jax.jit(
        jax.shard_map(each, mesh=mesh, in_specs=(P("data"), P("data")), out_specs=P("data"))
    )
    want = np.stack([function(LOGITS[i : i + 4], LABELS[i : i + 4]) for i in (0, 4)])
    assert_close(mapped(LOGITS, LABELS).reshape(want.shape), want)


NETWORKS = {
    "fcn8s_vgg16": {"width": 0.05, "fc_channels": 8},
    "deconvnet_vgg16": {"width": 0.05, "fc_channels": 8, "fc_kernel": 1},
    "pspnet_resnet18": {},
}


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        pytest.param(name, devices, marks=pytest.mark.slow if one else pytest.mark.nightly)
        for devices in (2, 8)
        for name in NETWORKS
        for one in [devices == (8 if "fcn" in name else 2) and "pspnet" not in name]
    ],
)
def test_a_network_and_its_gradient(name, devices):
    model = jaxseg.create_model(name, 3, **NETWORKS[name])
    images = RNG.standard_normal((8, 32, 32, 3)).astype(np.float32)
    labels = RNG.integers(0, 3, (8, 32, 32)).astype(np.uint8)
    variables = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0), images[:1]))

    def both(variables, images, labels):
        def loss(params):
            out, _ = model.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            out = out[0] if isinstance(out, tuple | list) else out
            return losses.cross_entropy(out, labels)

        gradient = jax.grad(loss)(variables["params"])
        norm = sum(jnp.square(g).sum() for g in jax.tree.leaves(gradient))
        return model.apply(variables, images), norm

    want = jax.jit(both)(variables, images, labels)
    got = on_mesh(both, mesh_of(devices, AxisType.Explicit), (variables,), images, labels)
    assert_close(got, want, tolerance=2e-3)
