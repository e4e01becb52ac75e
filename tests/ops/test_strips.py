import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.ops import align_corners, bilinear_deconv, half_pixel
from jaxseg.ops.strips import Strips
from jaxseg.ops.upsampling import identity

MAPS = {
    "align_corners": align_corners((6, 5), (37, 23)),
    "half_pixel": half_pixel((6, 5), (37, 23)),
    "shrink": half_pixel((40, 9), (17, 4)),
    "one_row": align_corners((1, 5), (19, 8)),
    "identity": identity((21, 6)),
    "fcn8s": bilinear_deconv((13, 12), (33, 29), stride=8, kernel=16, offset=31),
    "fcn32s": bilinear_deconv((3, 2), (70, 33), stride=32, kernel=64, offset=19),
    "composed": bilinear_deconv((4, 4), (10, 10), stride=2, kernel=4).then(
        align_corners((10, 10), (31, 17))
    ),
}
QUICK = [("fcn8s", 5), ("composed", 5), ("shrink", 5), ("fcn8s", 1000)]
cases = [(name, 5) for name in MAPS] + [("fcn8s", 1), ("fcn8s", 1000), ("align_corners", 16)]
for_all_maps = pytest.mark.parametrize(
    ("name", "rows"),
    [pytest.param(*c, marks=() if c in QUICK else pytest.mark.slow) for c in cases],
)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.default_cases(2)
@for_all_maps
def test_joined_strips_are_the_whole_map(name, rows):
    up = MAPS[name]
    strips = Strips(up, rows)
    assert strips.rows == min(rows, up.out_size[0])
    assert (strips.count - 1) * strips.rows < up.out_size[0] <= strips.count * strips.rows
    x = random(2, *up.in_size, 3)

    def body(carry, start, weights):
        strip = strips.read(x, start, weights)
        assert strip.shape == (2, strips.rows, up.out_size[1], 3)
        return carry, strip[..., 1]

    _, parts = strips.scan(body, None)
    np.testing.assert_allclose(strips.join(parts), up(x)[..., 1], atol=2e-6)


@pytest.mark.default_cases(2)
@for_all_maps
def test_transposed_strips_add_up_to_the_gradient(name, rows):
    up = MAPS[name]
    strips = Strips(up, rows)
    y = random(2, *up.out_size, 3, seed=1)
    (want,) = jax.vjp(up, jnp.zeros((2, *up.in_size, 3)))[1](y)

    def body(total, start, weights, *strip):
        return strips.add_transposed(total, jnp.stack(strip, -1), start, weights), None

    planes = [strips.split(y[..., c], 7.0) for c in range(3)]  # padded rows have weight 0
    got, _ = strips.scan(body, jnp.zeros_like(want), *planes)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 5, 16, 1000])
def test_join_undoes_split(rows):
    strips = Strips(MAPS["align_corners"], rows)
    full = np.arange(2 * 37 * 23).reshape(2, 37, 23)
    parts = strips.split(jnp.asarray(full), -1)
    assert parts.shape == (strips.count, 2, strips.rows, 23)
    assert (parts == -1).sum() == 2 * 23 * (strips.count * strips.rows - 37)
    np.testing.assert_array_equal(strips.join(parts), full)


def test_a_strip_reads_only_the_rows_it_needs():
    """16 of 480 rows depend on at most 4 of 60, in every strip."""
    assert Strips(align_corners((60, 60), (480, 480)), 16).band <= 4
    assert Strips(identity((480, 480)), 16).band == 16
