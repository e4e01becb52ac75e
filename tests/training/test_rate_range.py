import numpy as np
import pytest

from jaxseg.config import default_config
from jaxseg.errors import InputError
from jaxseg.training.rate_range import rate_range
from jaxseg.visualization.rate_plot import rate_plot


@pytest.fixture
def descent(monkeypatch):
    """Replaces training by descent on a parabola of curvature 1; rates above 2 diverge."""

    class Batches:
        def __next__(self):
            return ()

        def close(self):
            pass

    class Program:
        def __init__(self, config, source, schedule):
            assert (config.train.steps, config.optim.warmup_steps) == (200, 0)
            self._schedule, self._step = schedule, 0

        def initial_state(self):
            return 1.0

        def batches(self):
            return Batches()

        def step(self, state):
            noise = 0.05 * (-1) ** self._step
            state, loss = state * (1 - self._schedule(self._step)) + noise, state**2 / 2
            self._step += 1
            return state, {"loss": loss + 0.1}

    monkeypatch.setattr("jaxseg.training.rate_range.Program", Program)


def test_a_tenth_of_the_rate_of_the_lowest_loss(descent):
    config = default_config()
    config.optim.warmup_steps = 5
    found = rate_range(config, low=1e-4, high=10.0, steps=200, say=lambda line: None)
    assert len(found.rates) < 200  # it ended when the loss grew
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(1e5) / 199)
    lowest = found.rates[int(np.argmin(found.smoothed))]
    assert 0.5 < lowest < 4 and found.suggestion == pytest.approx(lowest / 10, rel=0.06)
    assert config.optim.warmup_steps == 5  # the caller's config is unchanged
    picture = rate_plot(*found)
    assert picture.size == (640, 400)
    marked = (np.asarray(picture) == (200, 70, 30)).all(-1)
    columns = np.flatnonzero(marked.sum(0) > 200)
    part = np.log10(found.suggestion / found.rates[0]) / np.log10(found.rates[-1] / found.rates[0])
    assert abs(columns.mean() - (64 + part * (640 - 64 - 24))) < 2


@pytest.mark.parametrize(("low", "high", "steps"), [(0, 1, 50), (1, 0.1, 50), (0.1, 1, 9)])
def test_no_range(low, high, steps):
    with pytest.raises(InputError, match="are not a valid range"):
        rate_range(default_config(), low=low, high=high, steps=steps)
