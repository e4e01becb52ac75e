"""The recipes' solvers: heavy and mean forms step by step; published multipliers and rates."""

import functools
import re
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg.cli.config_options import read_stages
from jaxseg.config.recipes import fcn_heavy, fcn_mean
from jaxseg.models import Head, create_model
from jaxseg.models.preprocessing import CAFFE_VGG
from jaxseg.ops import align_corners
from jaxseg.training.optimizers import make_optimizer, make_schedule, multipliers, parameter_name
from jaxseg.training.step import make_train_step, state_at_start

SIZE, C, STEPS = (32, 40), 3, 4
PIXELS = SIZE[0] * SIZE[1]


def photographs(shares):
    """Yields for each step a photograph and labels, of which the given share is not ignored."""
    rng = np.random.default_rng(0)
    for share in shares:
        labels = rng.integers(0, C, (1, *SIZE), dtype=np.uint8)
        labels[rng.random(labels.shape) >= share] = 255
        yield rng.integers(110, 130, (1, *SIZE, 3), dtype=np.uint8), labels


class Toy(nn.Module):
    """Two convolutions with biases and a bilinear upsampling: minimal, and compiles quickly."""

    num_classes: int = C
    preprocessing = CAFFE_VGG

    @nn.compact
    def heads(self, x, train=False):
        up = align_corners((-(-x.shape[1] // 4), -(-x.shape[2] // 4)), x.shape[1:3])
        x = nn.relu(nn.Conv(6, (3, 3), strides=4, name="conv1")(x))
        return [Head(nn.Conv(self.num_classes, (1, 1), name="score")(x), up)]

    def __call__(self, x):
        return self.heads(x)[0].upsampled()


@pytest.fixture(scope="module")
def network():
    """A network, its parameters, and the gradient of a plain sum over pixels."""
    model = Toy()
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *SIZE, 3)))
    params = jax.device_get(variables["params"])
    mean = jnp.asarray(model.preprocessing.mean)

    @jax.jit
    def sum_gradient(params, image, labels):
        """The gradient of the plain sum over labelled pixels, from full-resolution logits."""

        def objective(params):
            logits = model.apply({"params": params}, image.astype(jnp.float32) - mean)
            chosen = jnp.where(labels == 255, 0, labels).astype(jnp.int32)
            each = optax.softmax_cross_entropy_with_integer_labels(logits, chosen)
            return jnp.where(labels == 255, 0.0, each).sum()

        return jax.grad(objective)(params)

    return types.SimpleNamespace(model=model, params=params, sum_gradient=sum_gradient)


def trained(network, config, shares):
    """Parameters after each step by the recipe's own optimizer and loss."""
    optimizer = make_optimizer(config.optim, config.train.steps)
    step = jax.jit(make_train_step(network.model, optimizer, config.loss, seed=0))
    state = state_at_start({"params": network.params}, optimizer)
    path = []
    for image, labels in photographs(shares):
        state, _ = step(state, image, labels)
        path.append(jax.device_get(state.params))
    return path


def by_hand(network, lr, shares, weight=lambda pixels: 1.0):
    """The same in NumPy, by the released solver; `weight` scales a photograph's gradient."""
    params = jax.tree_util.tree_map_with_path(
        lambda path, w: (path[-1].key == "bias", np.array(w, np.float64)), network.params
    )
    leaf = lambda x: isinstance(x, tuple)  # noqa: E731
    velocity = jax.tree.map(lambda p: np.zeros_like(p[1]), params, is_leaf=leaf)
    path = []
    for image, labels in photographs(shares):
        now = jax.tree.map(lambda p: jnp.asarray(p[1], jnp.float32), params, is_leaf=leaf)
        scale = weight((labels != 255).sum())
        gradient = jax.tree.map(lambda g: scale * g, network.sum_gradient(now, image, labels))  # noqa: B023

        def moved(p, v, g):
            bias, w = p
            rate, decay = (2 * lr, 0.0) if bias else (lr, 5e-4)
            return 0.99 * v + rate * (np.asarray(g, np.float64) + decay * w)

        velocity = jax.tree.map(moved, params, velocity, gradient, is_leaf=leaf)
        params = jax.tree.map(lambda p, v: (p[0], p[1] - v), params, velocity, is_leaf=leaf)
        path.append(jax.tree.map(lambda p: p[1], params, is_leaf=leaf))
    return path


def moves(network, path):
    """The change of all parameters since the start, as one vector for each step."""
    flat = lambda tree: np.concatenate([np.ravel(a) for a in jax.tree.leaves(tree)])  # noqa: E731
    return [flat(params) - flat(network.params) for params in path]


def assert_same_moves(network, got, want, within=2e-4):
    """Compares each step, relative to the whole change: float32 has 7 digits of the parameters."""
    for a, b in zip(moves(network, got), moves(network, want), strict=True):
        assert np.linalg.norm(b) > 1e-3
        assert np.linalg.norm(a - b) < within * np.linalg.norm(b)


LR = 2e-6
ALL, SOME = (1.0,) * STEPS, (1.0, 0.4, 0.9, 0.1)


def test_the_heavy_solver_by_hand(network):
    heavy = fcn_heavy("fcn32s_vgg16", LR)
    assert_same_moves(network, trained(network, heavy, SOME), by_hand(network, LR, SOME))


def test_the_mean_equals_the_heavy_solver_for_equal_numbers_of_labels(network):
    heavy = fcn_heavy("fcn32s_vgg16", LR)
    mean = fcn_mean(fcn_heavy("fcn32s_vgg16", LR), PIXELS)
    assert (mean.loss.reduction, mean.optim.lr) == ("mean", LR * PIXELS)
    assert_same_moves(network, trained(network, mean, ALL), trained(network, heavy, ALL))


def test_for_unequal_numbers_the_mean_weights_photographs_equally(network):
    mean = fcn_mean(fcn_heavy("fcn32s_vgg16", LR), PIXELS)
    got = trained(network, mean, SOME)
    assert_same_moves(network, got, by_hand(network, LR, SOME, lambda n: PIXELS / n))
    with pytest.raises(AssertionError):
        assert_same_moves(network, got, by_hand(network, LR, SOME))


def test_the_published_numbers_of_the_mean():
    """500×375: 1.9e-5 in place of 1e-10, as others have derived."""
    mean = fcn_mean(fcn_heavy("fcn32s_vgg16", 1e-10))
    assert mean.optim.lr == pytest.approx(1.875e-5)
    assert mean.optim.weight_decay == pytest.approx(5e-4 / 187_500)


# ---- multipliers: the parameters they apply to, by name


@pytest.fixture
def optims(repository):
    """`optims("fcn8s:staged")`: the config.optim of every stage of a recipe."""

    def read(spec):
        name, _, variant = spec.partition(":")
        suffix = f":{variant}" if variant else ""
        return [c.optim for _, c in read_stages(f"{repository}/configs/{name}.py{suffix}")]

    return read


@functools.cache
def parameters(model, size):
    """The names of a network's parameters, as rules match them."""
    images = jnp.zeros((1, *size, 3))
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    return [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def by_multipliers(optim, model, size):
    """The names of a network's parameters by their (rate, decay) multipliers."""
    rules = [(re.compile(pattern), lr, decay) for pattern, lr, decay in optim.rules]
    found: dict = {}
    for name in parameters(model, size):
        found.setdefault(multipliers(rules, name), set()).add(name.removeprefix("params/"))
    return found


NEW = {
    *("head/conv/kernel", "head/score/kernel", "aux/conv/kernel", "aux/score/kernel"),
    *(f"level{n}/kernel" for n in (1, 2, 3, 6)),
}
NEW_NORMS = {
    f"{layer}/bn/{kind}"
    for layer in ("head/conv", "aux/conv", "level1", "level2", "level3", "level6")
    for kind in ("scale", "bias")
}
NEW_BIASES = {"head/score/bias", "aux/score/bias"}


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("name", ["pspnet_ade20k", "pspnet_voc2012", "pspnet_cityscapes"])
def test_pspnets_new_layers_learn_ten_times_as_fast(optims, name):
    model = create_model("pspnet_resnet50", 6, width=0.05)
    (paper,), (semseg,) = optims(name), optims(f"{name}:semseg")
    found = by_multipliers(paper, model, (65, 65))
    assert set(found) == {(10, 1), (20, 1), (10, 0), (1, 0), (1, 1)}
    assert (found[10, 1], found[20, 1], found[10, 0]) == (NEW, NEW_BIASES, NEW_NORMS)
    assert all(n.startswith("backbone/") and "/bn/" in n for n in found[1, 0])
    assert all(n.startswith("backbone/") and n.endswith("/kernel") for n in found[1, 1])
    assert (len(found[1, 0]), len(found[1, 1])) == (2 * 55, 55)

    found = by_multipliers(semseg, model, (65, 65))
    assert set(found) == {(10, 1), (1, 1)}
    assert found[10, 1] == NEW | NEW_NORMS | NEW_BIASES
    assert all(n.startswith("backbone/") for n in found[1, 1])
    assert (paper.momentum_form, semseg.momentum_form) == ("caffe", "pytorch")


@pytest.mark.default_cases(2)
@pytest.mark.parametrize(
    ("spec", "network", "fields"),
    [
        ("fcn32s", "fcn32s_vgg16", {}),
        ("fcn8s:staged", "fcn8s_vgg16", {}),
        ("fcn8s:staged_cvpr", "fcn8s_vgg16", {"upsampling": "learned", "upscore2_bias": True}),
        ("fcn8s_atonce", "fcn8s_atonce_vgg16", {}),
        pytest.param("fcn_googlenet", "fcn32s_googlenet", {}, marks=pytest.mark.slow),
        ("fcn_alexnet:cvpr", "fcn32s_alexnet", {}),
    ],
)
def test_biases_learn_twice_as_fast_and_do_not_decay(optims, spec, network, fields):
    model = create_model(network, 6, width=0.05, **fields)
    for optim in optims(spec):
        found = by_multipliers(optim, model, (64, 64))
        assert set(found) == {(2, 0), (1, 1)}
        assert all(n.endswith("/bias") for n in found[2, 0])
        assert all(n.endswith("/kernel") for n in found[1, 1])
        assert len(found[2, 0]) == len(found[1, 1]) - (1 if fields else 0)  # upscore_pool4: no bias


def test_alexnet_as_released(optims):
    (optim,) = optims("fcn_alexnet")
    found = by_multipliers(optim, create_model("fcn32s_alexnet", 6, width=0.05), (64, 64))
    assert found[2, 0] == {"score_fr/bias"} and set(found) == {(2, 0), (1, 1)}
    assert len(found[1, 1]) == 15


@pytest.mark.slow
def test_deconvnet_decays_its_norms(optims):
    model = create_model("deconvnet_vgg16", 6, width=0.05, fc_kernel=1)
    for optim in optims("deconvnet"):
        found = by_multipliers(optim, model, (32, 32))
        assert set(found) == {(2, 0), (1, 1)}
        assert len(found[2, 0]) == 30  # 29 layers and the scores
        assert all(n.endswith("/bias") and "/bn/" not in n for n in found[2, 0])


# ---- published rates


def test_rates(optims):
    (heavy,) = optims("fcn32s")
    assert float(make_schedule(heavy, 100_000)(99_999)) == pytest.approx(1e-10)
    assert [o.lr for o in optims("fcn8s:staged")] == [1e-10, 1e-12, 1e-14]
    assert [o.lr for o in optims("fcn8s:staged_cvpr")] == [1e-4, 1e-6, 1e-8]

    one, two = optims("deconvnet")
    rate = make_schedule(one, 20_000)
    assert [float(rate(s)) for s in (0, 8_999, 9_000, 17_999, 18_000, 19_999)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    )
    rate = make_schedule(two, 40_000)
    assert [float(rate(s)) for s in (9_999, 10_000, 20_000, 30_000)] == pytest.approx(
        [0.01, 0.001, 0.0001, 0.00001]
    )

    (paper,) = optims("pspnet_ade20k")
    rate = make_schedule(paper, 150_000)
    for step in (0, 1, 75_000, 149_999):
        want = 0.01 * (1 - step / 150_000) ** 0.9
        assert float(rate(step)) == pytest.approx(want, rel=2e-3)  # float32 precision at the end


def test_batches(repository):
    """Images per step, and the number of parts."""

    def of(spec):
        name, _, variant = spec.partition(":")
        path = f"{repository}/configs/{name}.py" + (f":{variant}" if variant else "")
        return [(c.train.batch_size, c.train.accumulate) for _, c in read_stages(path)]

    assert of("fcn8s:staged") == [(1, 1)] * 3
    assert of("fcn_alexnet") == of("fcn32s:cvpr") == [(20, 20)]
    assert of("deconvnet") == [(64, 8)] * 2
    assert of("pspnet_cityscapes") == [(16, 1)]
