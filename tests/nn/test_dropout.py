import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxseg.nn.dropout import Dropout

X = np.random.default_rng(0).standard_normal((2, 5, 7, 6)).astype(np.float32)


class Around(nn.Module):
    """A dropout inside a module, as in the networks: its random numbers depend on its name."""

    kind: type
    together: tuple[int, ...]
    train: bool

    @nn.compact
    def __call__(self, x):
        return self.kind(0.4, broadcast_dims=self.together, deterministic=not self.train)(x)


@pytest.mark.parametrize("together", [(), (1, 2)])
def test_equals_flax_dropout(together):
    got, want = (
        Around(kind, together, True).apply({}, X, rngs={"dropout": jax.random.key(3)})
        for kind in (Dropout, nn.Dropout)
    )
    np.testing.assert_array_equal(got, want)
    assert 0 < (np.asarray(got) == 0).mean() < 1


def test_nothing_is_dropped_in_evaluation():
    np.testing.assert_array_equal(Around(Dropout, (), False).apply({}, X), X)
