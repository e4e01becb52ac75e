import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import close, conv_loop, torchs, with_gradients, xla

from jaxseg.distributed.mesh import replicated, split_batch
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.dispatch import for_devices

CASES = [  # kernel, padding, (H, W), dilation
    (1, 0, (5, 7), 1),
    (1, 1, (4, 3), 1),
    (1, 0, (4, 3), 2),
    (3, 0, (7, 5), 1),
    (3, 1, (9, 6), 1),
    (3, 1, (1, 1), 1),
    (3, 100, (7, 5), 1),
    (3, 2, (9, 6), 2),
    (3, 0, (9, 10), 4),
    (3, 4, (3, 1), 4),
    (5, 1, (6, 8), 1),
    (5, 3, (8, 7), 2),
    (7, 0, (9, 8), 1),
    (7, 3, (4, 7), 1),
    (7, 3, (1, 2), 1),
]
every_case = pytest.mark.parametrize(("k", "padding", "size", "dilation"), CASES)


def arrays(k, padding, size, dtype=np.float32, dilation=1):
    rng = np.random.default_rng(k)
    x = rng.standard_normal((3, *size, 4)).astype(np.float32)
    kernel = rng.standard_normal((k, k, 4, 5)).astype(np.float32)
    out = [n + 2 * padding - dilation * (k - 1) for n in size]
    dy = rng.standard_normal((3, *out, 5)).astype(np.float32)
    return [jnp.asarray(a, dtype) for a in (x, kernel, dy)]


@pytest.mark.default_cases(5)
@every_case
def test_value_and_gradients_are_xlas(k, padding, size, dilation):
    x, kernel, dy = arrays(k, padding, size, dilation=dilation)
    got = jax.jit(with_gradients(conv2d, padding, dilation))(x, kernel, dy)
    want = jax.jit(with_gradients(xla, padding, dilation))(x, kernel, dy)
    for a, b in zip(got, want, strict=True):
        close(a, b)
    close(got[0], conv_loop(x, kernel, padding, dilation))


@pytest.mark.slow
@every_case
def test_value_and_gradients_are_torchs(torch, k, padding, size, dilation):
    x, kernel, dy = arrays(k, padding, size, dilation=dilation)
    got = jax.jit(with_gradients(conv2d, padding, dilation))(x, kernel, dy)
    for a, b in zip(got, torchs(torch, x, kernel, dy, padding, dilation), strict=True):
        close(a, b)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_reference_form(reference_form, k):
    x, kernel, dy = arrays(k, k // 2, (8, 9))
    got = jax.jit(with_gradients(conv2d, k // 2))(x, kernel, dy)
    want = jax.jit(with_gradients(xla, k // 2))(x, kernel, dy)
    for a, b in zip(got, want, strict=True):
        close(a, b)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("k", [1, 3, 7])
def test_bfloat16(k):
    x, kernel, dy = arrays(k, k // 2, (8, 9), jnp.bfloat16)
    got = jax.jit(with_gradients(conv2d, k // 2))(x, kernel, dy)
    exact = [a.astype(jnp.float32) for a in (x, kernel, dy)]
    want = jax.jit(with_gradients(xla, k // 2))(*exact)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == jnp.bfloat16
        close(a, b, 0.005)  # a single rounding to bfloat16, none inside the sums


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 3, pytest.param(7, marks=pytest.mark.slow)])
def test_checkpoint_and_vmap(k):
    x, kernel, dy = arrays(k, k // 2, (6, 5))
    run = with_gradients(conv2d, k // 2)
    want = jax.jit(with_gradients(xla, k // 2))(x, kernel, dy)
    close(conv2d(x, kernel, k // 2), want[0])
    again = with_gradients(jax.checkpoint(conv2d, static_argnums=2), k // 2)
    for a, b in zip(jax.jit(again)(x, kernel, dy), want, strict=True):
        close(a, b)
    each = [jnp.stack([a, 2 * a]) for a in (x, kernel, dy)]
    got = jax.jit(jax.vmap(run))(*each)
    for a, b in zip(got, want, strict=True):
        close(a[0], b)
        close(a[1], 4 * b)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("k", [1, 3, 7])
def test_eight_devices_get_the_gradients_of_one(mesh, k):
    x, kernel, dy = (jnp.concatenate([a] * 3)[:8] for a in arrays(k, k // 2, (6, 5)))
    kernel = arrays(k, k // 2, (6, 5))[1]
    x = x * jnp.arange(1.0, 9.0)[:, None, None, None]  # all images differ
    want = jax.jit(with_gradients(conv2d, k // 2))(x, kernel, dy)
    run = for_devices(with_gradients(conv2d, k // 2), jax.devices())
    split, whole = split_batch(mesh), replicated(mesh)
    placed = jax.device_put((x, kernel, dy), (split, whole, split))
    program = jax.jit(run, out_shardings=(split, split, whole)).lower(*placed).compile()
    assert "all-gather" not in program.as_text()  # each device uses only its own images
    got = program(*placed)
    assert len(got[0].sharding.device_set) == 8
    for a, b in zip(got, want, strict=True):
        close(a, b)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_lowers_to_the_platforms_own_convolution(k):
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays(k, k // 2, (8, 9))]
    run = jax.jit(with_gradients(conv2d, k // 2))
    for platform in ("cuda", "tpu"):
        text = run.trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
        # dot products: a 1×1 kernel on a GPU; on a TPU, gradients with only 4 channels
        count = {("cuda", 1): 0, ("tpu", 3): 2, ("tpu", 7): 2}.get((platform, k), 3)
        assert text.count("stablehlo.convolution(") == count
        assert ("dot_general" in text) == (count < 3)
    text = jax.export.export(run, platforms=["cpu"])(*shapes).mlir_module()
    assert text.count("stablehlo.convolution") == (2 if k == 3 else 0)
    assert "dot_general" in text
