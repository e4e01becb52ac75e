"""Tests that every network must pass; a network's own file sets its values and adds to them."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.distributed.mesh import replicated, split_batch
from jaxseg.errors import InputError
from jaxseg.losses import cross_entropy


def images(n: int, size: tuple[int, int], seed: int = 0) -> jax.Array:
    """Normalized images of noise."""
    return 60 * jax.random.normal(jax.random.key(seed), (n, *size, 3))


def labels(n: int, size: tuple[int, int], num_classes: int, seed: int = 0) -> np.ndarray:
    """Label maps of noise, a fifth of it ignored."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, num_classes, (n, *size))
    out[rng.random(out.shape) < 0.2] = 255
    return out.astype(np.uint8)


def init_key(seed: int) -> jax.Array:
    """A key of a generator with which initialization compiles four times faster than by default."""
    return jax.random.key(seed, impl="rbg")


def randomized(variables: dict, seed: int = 0) -> dict:
    """Variables in which nothing is 0, 1 or symmetric: scores that start at 0 hide mistakes."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return jnp.asarray(noise * np.sqrt(2 / np.prod(leaf.shape[:-1])))
        if path[-1].key in ("var", "scale"):
            return jnp.asarray(0.5 + np.abs(noise))
        return jnp.asarray(0.2 * noise)

    return jax.tree_util.tree_map_with_path(fill, variables)


def close(got: jax.Array, want: jax.Array, tolerance: float) -> None:
    """Asserts that no value differs by more than `tolerance` times the largest."""
    assert got.shape == want.shape
    want = np.asarray(want, np.float64)
    np.testing.assert_allclose(
        np.asarray(got, np.float64), want, rtol=0, atol=tolerance * np.abs(want).max()
    )


def trees_close(got: dict, want: dict, tolerance: float) -> None:
    """`close` for every leaf."""
    jax.tree.map(functools.partial(close, tolerance=tolerance), got, want)


class ModelTests:
    """A dozen checks of one network. Subclass it, name it `Test...` and set:

    Attributes:
      make: makes the network (5 classes, narrow) with given fields; a `staticmethod` or a partial.
      size: the smallest image size that it takes, odd if the network allows it.
      other_size: another valid size.
      too_small: a size that it refuses; None if there is none.
      bfloat16_outliers: share of the logits that rounding may change much: another maximum in a
        pooling window moves unpooled values.
      gradient_jumps: allowed difference between the gradients of several devices and of one, as a
        share of the norm, if last bits change maxima and so the gradient; 0: each element is close.
    """

    make: Callable[..., nn.Module]
    size: tuple[int, int]
    other_size: tuple[int, int]
    too_small: tuple[int, int] | None = None
    bfloat16_outliers = 0.0
    gradient_jumps = 0.0

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        return cls.make()

    @pytest.fixture(scope="class")
    @classmethod
    def init(cls, model):
        """The initialization, compiled once."""
        return jax.jit(model.init)

    @pytest.fixture(scope="class")
    @classmethod
    def variables(cls, model):
        """Random variables, none at its initial value."""
        shapes = jax.eval_shape(model.init, jax.random.key(0), images(1, cls.size))
        return randomized(shapes)

    @pytest.fixture(scope="class")
    @classmethod
    def logits(cls, model, variables):
        """The logits of `images(4, self.size)`, by the compiled network."""
        return jax.jit(model.apply)(variables, images(4, cls.size))

    @pytest.fixture(scope="class")
    @classmethod
    def step(cls, model):
        """A training step: (variables, images, labels, key) -> loss, gradient, new statistics."""

        def loss(params, variables, x, y, key):
            heads, changed = model.apply(
                variables | {"params": params},
                x,
                train=True,
                method="heads",
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            values = [h.weight * cross_entropy(h.logits, y, h.upsampling) for h in heads]
            return sum(values), changed

        def run(variables, x, y, key):
            (value, changed), gradient = jax.value_and_grad(loss, has_aux=True)(
                variables["params"], variables, x, y, key
            )
            return value, gradient, changed

        return run

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, step, variables):
        """The results of `step` for a batch of 8 on one device."""
        return jax.jit(step)(variables, *cls.batch(), jax.random.key(3))

    @classmethod
    def batch(cls):
        return images(8, cls.size, seed=1), labels(8, cls.size, 5, seed=1)

    def test_logits_are_float32_at_the_images_resolution(self, logits):
        assert logits.shape == (4, *self.size, 5) and logits.dtype == jnp.float32
        assert jnp.isfinite(logits).all() and logits.std() > 0

    @pytest.mark.slow
    def test_any_size(self, model, variables):
        x = images(1, self.other_size)
        assert jax.eval_shape(model.apply, variables, x).shape == (1, *self.other_size, 5)
        shapes = jax.eval_shape(model.init, jax.random.key(0), x)
        assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)

    @pytest.mark.slow
    def test_init_depends_on_the_key_alone(self, init):
        one, same, other = (init(init_key(k), images(1, self.size, seed=k)) for k in (0, 0, 1))
        jax.tree.map(np.testing.assert_array_equal, one, same)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(one))
        kernels = [
            (np.asarray(a), np.asarray(b))
            for (path, a), b in zip(
                jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
            )
            if path[-1].key == "kernel" and np.any(a)
        ]
        assert kernels and all((a != b).any() for a, b in kernels)

    @pytest.mark.slow
    def test_without_jit(self, model, variables, logits):
        close(model.apply(variables, images(4, self.size)[:1]), logits[:1], 1e-5)

    @pytest.mark.slow
    def test_vmap_and_images_do_not_see_each_other(self, model, variables, logits):
        x = images(4, self.size)[:, None]
        got = jax.jit(jax.vmap(model.apply, in_axes=(None, 0)))(variables, x)
        close(got[:, 0], logits, 1e-5)

    def test_heads(self, model, variables, logits):
        heads = jax.jit(functools.partial(model.apply, method="heads"))(
            variables, images(4, self.size)
        )
        assert heads[0].weight == 1
        for head in heads:
            assert head.logits.dtype == jnp.float32
            assert head.upsampling.in_size == head.logits.shape[1:3]
            assert head.upsampling.out_size == self.size
        close(heads[0].upsampled(), logits, 1e-5)

    @pytest.mark.slow
    def test_bfloat16(self, variables, logits):
        model = type(self).make(dtype="bfloat16")
        got = jax.jit(model.apply)(variables, images(4, self.size))
        assert got.dtype == jnp.float32
        assert (got != logits).any()
        assert np.mean(np.abs(got - logits) > 0.1 * np.abs(logits).max()) <= self.bfloat16_outliers
        shapes = jax.eval_shape(model.init, jax.random.key(0), images(1, self.size))
        assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}

    @pytest.mark.slow
    def test_gradient_reaches_every_parameter(self, trained):
        value, gradient, _ = trained
        assert jnp.isfinite(value)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            assert jnp.isfinite(leaf).all() and leaf.dtype == jnp.float32, path
            if path[-1].key != "bias":  # batch norm cancels a bias before it
                assert (leaf != 0).any(), path

    @pytest.mark.slow
    def test_training_moves_statistics_and_nothing_else(self, variables, trained):
        changed = trained[2]
        assert set(changed) == set(variables) - {"params"}
        for path, new in jax.tree_util.tree_leaves_with_path(changed):
            old = functools.reduce(lambda tree, key: tree[key.key], path, variables)
            assert new.dtype == jnp.float32 and jnp.isfinite(new).all(), path
            assert (new != old).any(), path

    @pytest.mark.slow
    def test_eight_devices_train_as_one(self, mesh, step, variables, trained):
        """Loss, gradients and batch statistics are those of the whole batch."""
        split, whole = split_batch(mesh), replicated(mesh)
        run = jax.jit(step, in_shardings=(whole, split, split, whole), out_shardings=whole)
        value, gradient, changed = run(variables, *self.batch(), jax.random.key(3))
        np.testing.assert_allclose(value, trained[0], rtol=1e-5)
        trees_close(changed, trained[2], 1e-5)
        assert len(value.sharding.device_set) == 8
        if self.gradient_jumps:
            away, all_of_it = (
                np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(tree)))
                for tree in (jax.tree.map(jnp.subtract, gradient, trained[1]), trained[1])
            )
            assert away < self.gradient_jumps * all_of_it
            return
        norm = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(trained[1]))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * norm),
            gradient,
            trained[1],
        )

    @pytest.mark.parametrize(
        ("shape", "dtype", "message"),
        [
            ((1, 32, 32, 3), jnp.uint8, "normalize"),
            ((1, 32, 32, 3), jnp.int32, "normalize"),
            ((32, 32, 3), jnp.float32, "shape"),
            ((1, 32, 32, 1), jnp.float32, "shape"),
            ((1, 3, 32, 32), jnp.float32, "shape"),
            ((1, 0, 32, 3), jnp.float32, "shape"),
        ],
    )
    def test_invalid_batches_are_refused(self, model, variables, shape, dtype, message):
        with pytest.raises(InputError, match=message):
            jax.eval_shape(model.apply, variables, jnp.zeros(shape, dtype))

    def test_too_small(self, model, variables):
        if self.too_small is None:
            pytest.skip("takes any size")
        with pytest.raises(InputError, match="larger"):
            jax.eval_shape(model.apply, variables, images(1, self.too_small))
