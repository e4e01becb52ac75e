import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg.config import default_config
from jaxseg.errors import InputError
from jaxseg.training.optimizers import check_patterns, make_optimizer, make_schedule

STEPS = 6


def config(**fields):
    c = default_config().optim
    for key, value in fields.items():
        c[key] = value
    return c


def params():
    rng = np.random.default_rng(0)
    layer = {"kernel": (3, 3, 2, 4), "bias": (4,)}
    return {
        name: {k: jnp.asarray(rng.standard_normal(s), jnp.float32) for k, s in layer.items()}
        for name in ("conv1", "score")
    }


def gradients(step):
    rng = np.random.default_rng(step + 1)
    return jax.tree.map(lambda w: jnp.asarray(rng.standard_normal(w.shape), jnp.float32), params())


def run(c, steps=STEPS):
    """Parameters after each step."""
    optimizer = make_optimizer(c, steps)
    p = params()
    state, path = optimizer.init(p), []
    update = jax.jit(optimizer.update)
    for step in range(steps):
        updates, state = update(gradients(step), state, p)
        p = optax.apply_updates(p, updates)
        path.append(p)
    return path


def run_torch(torch, make, clip=None, lrs=None):
    """The same in PyTorch; `make` gets {"kernel": [...], "bias": [...]}."""
    leaves, tree = jax.tree.flatten(params())
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params())]
    tensors = [torch.tensor(np.asarray(w), requires_grad=True) for w in leaves]
    groups = {"kernel": [], "bias": []}
    for path, tensor in zip(paths, tensors, strict=True):
        groups[path[-1].key].append(tensor)
    optimizer = make(groups)
    out = []
    for step in range(STEPS):
        for tensor, g in zip(tensors, jax.tree.leaves(gradients(step)), strict=True):
            tensor.grad = torch.tensor(np.asarray(g))
        if clip:
            torch.nn.utils.clip_grad_norm_(tensors, clip)
        for group in optimizer.param_groups if lrs else ():
            group["lr"] = lrs[step]
        optimizer.step()
        out.append(tree.unflatten([t.detach().numpy().copy() for t in tensors]))
    return out


def close(got, want, atol=1e-6):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol), a, b)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.03])
def test_sgd_is_torchs(torch, momentum, decay):
    want = run_torch(
        torch,
        lambda g: torch.optim.SGD(
            g["kernel"] + g["bias"], lr=0.05, momentum=momentum, weight_decay=decay
        ),
    )
    close(run(config(name="sgd", lr=0.05, momentum=momentum, weight_decay=decay)), want)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_rules_are_torchs_parameter_groups(torch, name):
    """The published multipliers: biases learn at twice the rate and do not decay."""

    def make(g):
        groups = [
            {"params": g["kernel"], "weight_decay": 0.03},
            {"params": g["bias"], "lr": 0.1, "weight_decay": 0.0},
        ]
        if name == "sgd":
            return torch.optim.SGD(groups, lr=0.05, momentum=0.9)
        return torch.optim.AdamW(groups, lr=0.05)

    c = config(name=name, lr=0.05, weight_decay=0.03, rules=(("bias", 2.0, 0.0),))
    close(run(c), run_torch(torch, make), atol=1e-5)


def test_the_first_rule_found_decides():
    c = config(rules=(("^params/score/", 0.0, 1.0), ("bias$", 3.0, 1.0)), momentum=0.0, lr=0.1)
    (after,) = run(c, 1)
    before, g = params(), gradients(0)
    for layer, leaf, factor in [
        ("score", "kernel", 0.0),
        ("score", "bias", 0.0),
        ("conv1", "kernel", 1.0),
        ("conv1", "bias", 3.0),
    ]:
        want = before[layer][leaf] - 0.1 * factor * g[layer][leaf]
        np.testing.assert_allclose(after[layer][leaf], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.03])
def test_adamw_is_torchs(torch, decay):
    c = config(name="adamw", lr=0.02, weight_decay=decay, schedule="poly")
    lrs = [float(make_schedule(c, STEPS)(step)) for step in range(STEPS)]
    want = run_torch(
        torch,
        lambda g: torch.optim.AdamW(g["kernel"] + g["bias"], lr=0.02, weight_decay=decay),
        lrs=lrs,
    )
    close(run(c), want, atol=1e-5)


def test_clip_is_torchs(torch):
    want = run_torch(torch, lambda g: torch.optim.SGD(g["kernel"] + g["bias"], lr=1.0), clip=0.7)
    close(run(config(lr=1.0, momentum=0.0, clip_norm=0.7)), want)


def test_clip_leaves_small_gradients_alone():
    close(run(config(clip_norm=1e6)), run(config()), atol=0)


def test_the_rate_enters_before_the_momentum():
    """Caffe's form, computed here: v = momentum * v + lr * (g + decay * w)."""
    c = config(lr=0.1, schedule="poly", power=1.0, weight_decay=0.01, momentum=0.8)
    w, v, want = params(), jax.tree.map(jnp.zeros_like, params()), []
    for step in range(STEPS):
        lr = 0.1 * (1 - step / STEPS)
        v = jax.tree.map(lambda v, g, w: 0.8 * v + lr * (g + 0.01 * w), v, gradients(step), w)  # noqa: B023
        w = jax.tree.map(jnp.subtract, w, v)
        want.append(w)
    close(run(c), want)


def test_the_rate_enters_after_the_momentum(torch):
    """PyTorch's form, with a rate that falls and with parameter groups."""
    rules = (("bias", 2.0, 0.0),)
    c = config(lr=0.1, schedule="step", boundaries=(2, 4), momentum=0.8, rules=rules)
    c.weight_decay, c.momentum_form = 0.01, "pytorch"
    at_kernel = [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert [float(make_schedule(c, STEPS)(step)) for step in range(STEPS)] == pytest.approx(
        at_kernel
    )

    def make(g):
        groups = [{"params": g["kernel"], "weight_decay": 0.01}, {"params": g["bias"]}]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.8)
        falls = [lambda i: at_kernel[i] / 0.1, lambda i: 2 * at_kernel[i] / 0.1]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, falls)
        optimizer.register_step_post_hook(
            lambda *_: scheduler.step() if scheduler.last_epoch < 5 else None
        )
        return optimizer

    close(run(c), run_torch(torch, make))
    c.momentum_form = "caffe"
    with pytest.raises(AssertionError):
        close(run(c), run_torch(torch, make))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"freeze": ("conv2",)}, "optim.freeze has the pattern 'conv2'"),
        ({"rules": (("bias", 1.0, 0.0), ("^score", 2.0, 1.0))}, "optim.rules .*'\\^score'"),
        ({"freeze": ("kernel",), "rules": (("bias", 0.0, 1.0),)}, "freeze every parameter"),
    ],
)
def test_patterns_that_mean_nothing(fields, message):
    check_patterns(config(freeze=("conv1/",), rules=(("bias$", 0.0, 1.0),)), params())
    with pytest.raises(InputError, match=message):
        check_patterns(config(**fields), params())


def test_steps_of_the_rate():
    """DeconvNet's stage 1: divided by ten after every 9,000 of 20,000 steps."""
    rate = make_schedule(config(lr=0.01, schedule="step", boundaries=(9000, 18000)), 20000)
    for step, want in [(0, 1e-2), (8999, 1e-2), (9000, 1e-3), (17999, 1e-3), (18000, 1e-4)]:
        assert float(rate(step)) == np.float32(want)
        assert float(jax.jit(rate)(step)) == np.float32(want)
    half = make_schedule(config(lr=0.5, schedule="step", boundaries=(1, 3), factor=0.5), 4)
    assert [float(half(i)) for i in range(4)] == [0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_every_leaf_moves(name):
    (after,) = run(config(name=name), 1)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(params()), strict=True):
        assert a.dtype == jnp.float32 and (a != b).all()


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        ("constant", 0.5),
        ("poly", 0.5 * (1 / 100) ** 0.9),
        ("cosine", 0.25 * (1 + np.cos(np.pi * 99 / 100))),
    ],
)
def test_first_and_last_rate(schedule, last):
    rate = make_schedule(config(lr=0.5, schedule=schedule), 100)
    assert rate(0) == 0.5
    assert float(rate(99)) == pytest.approx(last, rel=1e-4)
    if schedule != "constant":
        assert abs(float(rate(100))) < 1e-8  # the first step after the end
        rates = [float(rate(i)) for i in range(101)]
        assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", ["constant", "poly", "cosine"])
def test_warmup_is_a_straight_line_up(schedule):
    with_, without = (
        make_schedule(config(lr=0.5, schedule=schedule, warmup_steps=n), 20) for n in (4, 0)
    )
    for step in range(20):
        ramp = min((step + 1) / 4, 1)
        assert float(with_(step)) == pytest.approx(ramp * float(without(step)), rel=1e-5)


def test_warmup_longer_than_the_run():
    rate = make_schedule(config(lr=0.5, warmup_steps=100), 10)
    assert float(rate(9)) == pytest.approx(0.5)
