import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.errors import InputError
from jaxseg.ops import align_corners, bilinear_deconv, half_pixel, resize_bilinear
from jaxseg.ops.upsampling import identity

SIZES = [
    ((5, 7), (13, 11)),
    ((1, 4), (3, 9)),
    ((6, 1), (1, 5)),
    ((1, 1), (4, 1)),
    ((9, 12), (4, 5)),
    ((7, 5), (7, 5)),
    ((2, 3), (17, 24)),
    ((4, 4), (1, 1)),
]
DECONVS = [  # kernel, stride, (h, w), (H, W), offset
    (4, 2, (5, 7), (12, 16), 0),
    (4, 2, (5, 7), (9, 13), 1),
    (4, 2, (1, 1), (4, 4), 0),
    (3, 2, (4, 5), (7, 9), 1),
    (16, 8, (4, 5), (7, 9), 31),
    (16, 8, (3, 2), (32, 24), 0),
    (32, 16, (4, 3), (37, 33), 27),
    (63, 32, (2, 3), (70, 101), 18),
    (64, 32, (3, 2), (97, 60), 19),
]


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def resize_loop(x, size, corners):
    """Computes pixel by pixel, as image libraries do."""
    out = np.zeros((x.shape[0], *size, x.shape[3]))

    def source(i, n, m):
        if corners:
            position = i * (n - 1) / (m - 1) if m > 1 else 0.0
        else:
            position = max((i + 0.5) * n / m - 0.5, 0.0)
        low = min(math.floor(position), n - 1)
        return low, min(low + 1, n - 1), position - low if low + 1 < n else 0.0

    for i in range(size[0]):
        top, bottom, dy = source(i, x.shape[1], size[0])
        for j in range(size[1]):
            left, right, dx = source(j, x.shape[2], size[1])
            upper = (1 - dx) * x[:, top, left] + dx * x[:, top, right]
            lower = (1 - dx) * x[:, bottom, left] + dx * x[:, bottom, right]
            out[:, i, j] = (1 - dy) * upper + dy * lower
    return out


def upsample_filt(k):
    """The released FCN's bilinear kernel."""
    factor = (k + 1) // 2
    centre = factor - 1 if k % 2 == 1 else factor - 0.5
    og = np.ogrid[:k, :k]
    return (1 - abs(og[0] - centre) / factor) * (1 - abs(og[1] - centre) / factor)


def deconv_loop(x, kernel, stride, size, offset):
    """Every input pixel adds its multiple of the kernel; then the result is cropped."""
    n, h, w, c = x.shape
    out = np.zeros((n, stride * (h - 1) + kernel, stride * (w - 1) + kernel, c))
    weights = upsample_filt(kernel)[None, :, :, None]
    for i in range(h):
        for j in range(w):
            y, z = i * stride, j * stride
            out[:, y : y + kernel, z : z + kernel] += weights * x[:, i : i + 1, j : j + 1]
    return out[:, offset : offset + size[0], offset : offset + size[1]]


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize(("size", "out"), SIZES)
def test_resize_is_the_loop_over_pixels(size, out, corners):
    x = random(2, *size, 3)
    got = resize_bilinear(x, out, align_corners=corners)
    np.testing.assert_allclose(got, resize_loop(x, out, corners), atol=2e-6)
    make = align_corners if corners else half_pixel
    np.testing.assert_array_equal(got, make(size, out)(x))


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize(("size", "out"), SIZES)
def test_resize_is_torch_interpolate(torch, size, out, corners):
    x = random(2, *size, 3)
    want = torch.nn.functional.interpolate(
        torch.tensor(x).permute(0, 3, 1, 2), out, mode="bilinear", align_corners=corners
    )
    got = resize_bilinear(x, out, align_corners=corners)
    np.testing.assert_allclose(got, want.permute(0, 2, 3, 1), atol=2e-6)


@pytest.mark.parametrize(("kernel", "stride", "size", "out", "offset"), DECONVS)
def test_deconv_is_the_loop_over_pixels(kernel, stride, size, out, offset):
    x = random(2, *size, 3)
    up = bilinear_deconv(size, out, stride=stride, kernel=kernel, offset=offset)
    want = deconv_loop(x, kernel, stride, out, offset)
    assert want.shape == (2, *out, 3)
    np.testing.assert_allclose(up(x), want, atol=2e-6)


@pytest.mark.parametrize(("kernel", "stride", "size", "out", "offset"), DECONVS)
def test_deconv_is_torch_conv_transpose(torch, kernel, stride, size, out, offset):
    """As released: a dense kernel with the filter on its diagonal, 0 elsewhere."""
    x = random(2, *size, 3)
    weight = np.zeros((3, 3, kernel, kernel), np.float32)
    weight[range(3), range(3)] = upsample_filt(kernel)
    want = torch.nn.functional.conv_transpose2d(
        torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(weight), stride=stride
    ).permute(0, 2, 3, 1)[:, offset : offset + out[0], offset : offset + out[1]]
    up = bilinear_deconv(size, out, stride=stride, kernel=kernel, offset=offset)
    np.testing.assert_allclose(up(x), want, atol=2e-6)


def test_identity_changes_nothing():
    x = random(2, 5, 3, 4)
    np.testing.assert_array_equal(identity((5, 3))(x), x)


def test_then_is_one_map_after_the_other():
    first = bilinear_deconv((3, 4), (8, 10), stride=2, kernel=4)
    second = align_corners((8, 10), (13, 7))
    both = first.then(second)
    assert (both.in_size, both.out_size) == ((3, 4), (13, 7))
    x = random(2, 3, 4, 5)
    np.testing.assert_allclose(both(x), second(first(x)), atol=2e-6)
    for one, a, b in zip(both.matrices(), first.matrices(), second.matrices(), strict=True):
        np.testing.assert_allclose(one, b @ a, atol=1e-6)


def test_maps_are_static_arguments():
    traces = []

    @functools.partial(jax.jit, static_argnums=1)
    def run(x, up):
        traces.append(up)
        return up(x)

    x = random(1, 3, 4, 2)
    for _ in range(2):
        run(x, align_corners((3, 4), (6, 8)))
    assert len(traces) == 1
    run(x, half_pixel((3, 4), (6, 8)))
    assert len(traces) == 2
    assert len({align_corners((3, 4), (6, 8)), align_corners((3, 4), (6, 8))}) == 1


@pytest.mark.parametrize(
    ("up", "loop"),
    [
        (align_corners((4, 5), (11, 3)), lambda x: resize_loop(x, (11, 3), True)),
        (half_pixel((4, 5), (11, 3)), lambda x: resize_loop(x, (11, 3), False)),
        (
            bilinear_deconv((4, 5), (7, 9), stride=8, kernel=16, offset=31),
            lambda x: deconv_loop(x, 16, 8, (7, 9), 31),
        ),
    ],
)
def test_gradient_is_the_transposed_map(up, loop):
    """<up(x), y> = <x, transposed(y)> for every unit vector x."""
    y = random(1, *up.out_size, 2, seed=1)
    (got,) = jax.vjp(up, jnp.zeros((1, *up.in_size, 2)))[1](y)
    units = np.eye(20).reshape(20, 4, 5, 1)
    want = np.einsum("uHWi,nHWc->nuc", loop(units), y).reshape(1, 4, 5, 2)
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("make", [align_corners, half_pixel])
def test_dtype_is_kept_and_sums_are_float32(make):
    up = make((3, 5), (9, 10))
    x = jnp.asarray(random(1, 3, 5, 2), jnp.bfloat16)
    assert up(x).dtype == jax.jit(up)(x).dtype == jnp.bfloat16
    assert up(x.astype(jnp.float16)).dtype == jnp.float16
    np.testing.assert_allclose(
        np.float32(up(x)), up(np.float32(x)), atol=0.03
    )  # three roundings of 2**-9


def test_jit_and_vmap():
    up = bilinear_deconv((3, 4), (17, 23), stride=8, kernel=16, offset=4)
    x = random(5, 2, 3, 4, 2)
    want = np.stack([up(one) for one in x])
    np.testing.assert_allclose(jax.vmap(up)(x), want, atol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(up))(x), want, atol=1e-6)


@pytest.mark.parametrize("kernel", [2, 8, 14, 17])
def test_kernel_that_does_not_fit_the_stride(kernel):
    with pytest.raises(InputError, match="kernel of size"):
        bilinear_deconv((3, 3), (8, 8), stride=8, kernel=kernel)


@pytest.mark.parametrize(
    ("out", "offset"), [((33, 24), 0), ((8, 33), 0), ((20, 20), 13), ((8, 8), -1)]
)
def test_crop_outside_the_deconvolution(out, offset):
    """3 cells at stride 8 cover 32 pixels and no more."""
    with pytest.raises(InputError, match="crop"):
        bilinear_deconv((3, 3), out, stride=8, kernel=16, offset=offset)
    bilinear_deconv((3, 3), (32, 32), stride=8, kernel=16)
    bilinear_deconv((3, 3), (20, 20), stride=8, kernel=16, offset=12)


@pytest.mark.parametrize("shape", [(1, 4, 3, 2), (1, 3, 5, 2), (3, 4, 2), (3, 4), (1, 3, 4)])
def test_array_of_another_size(shape):
    with pytest.raises(InputError, match="The map needs"):
        align_corners((3, 4), (6, 8))(jnp.zeros(shape))


def test_integers_are_refused():
    """Weights between 0 and 1 would be truncated to 0."""
    with pytest.raises(InputError, match="uint8"):
        resize_bilinear(jnp.zeros((1, 3, 4, 2), jnp.uint8), (6, 8), align_corners=True)


def test_maps_that_do_not_follow_each_other():
    with pytest.raises(InputError, match="followed"):
        align_corners((3, 4), (6, 8)).then(align_corners((6, 7), (12, 14)))
