"""The train step as a pure function, with a network of two layers that compiles quickly."""

import runpy

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg.config import default_config
from jaxseg.models import Head, normalize
from jaxseg.models.preprocessing import IMAGENET
from jaxseg.ops import align_corners
from jaxseg.training.optimizers import frozen, make_optimizer
from jaxseg.training.step import create_state, make_eval_step, make_train_step, state_at_start

SIZE, C = (13, 17), 4


class Toy(nn.Module):
    """Two convolutions and a second head, with the interface of the networks."""

    num_classes: int = C
    norm: bool = False
    dropout: float = 0.0
    preprocessing = IMAGENET

    @nn.compact
    def heads(self, x, train=False):
        up = align_corners((-(-x.shape[1] // 4), -(-x.shape[2] // 4)), x.shape[1:3])
        x = nn.Conv(6, (3, 3), strides=4, name="trunk")(x)
        x = nn.BatchNorm(not train, momentum=0.9, name="norm")(x) if self.norm else x
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.tanh(x))
        score = nn.Conv(self.num_classes, (1, 3), name="score")(x)
        return Head(score, up), Head(nn.Conv(self.num_classes, (1, 1), name="aux")(x), up, 0.4)

    def __call__(self, x):
        return self.heads(x)[0].upsampled()


def batch(seed=0, n=6):
    """Images and labels; the labelled share differs between images, and one has no labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *SIZE, 3), dtype=np.uint8)
    labels = rng.integers(0, C, (n, *SIZE), dtype=np.uint8)
    for i, share in zip(range(n), (1.0, 0.1, 0.0, 0.5, 0.9, 0.3), strict=False):
        labels[i][rng.random(SIZE) > share] = 255
    return images, labels


class Run:
    """A train step of `Toy` and its state; `fields` are config fields by dotted name."""

    def __init__(self, fields=None, model=None, **options):
        config = default_config()
        config.optim.lr = 0.1
        for name, value in (fields or {}).items():
            section, field = name.split(".")
            config[section][field] = value
        self.model = model or Toy()
        self.optimizer = make_optimizer(config.optim, steps=10)
        averaged = "ema" in options
        self.state = jax.jit(lambda: create_state(self.model, self.optimizer, 0, SIZE, averaged))()
        step = make_train_step(
            self.model, self.optimizer, config.loss, 3, frozen=frozen(config.optim), **options
        )
        self.step = jax.jit(step)

    def go(self, steps=1):
        """Returns the losses of some steps, each with its own batch."""
        losses = []
        for seed in range(steps):
            self.state, numbers = self.step(self.state, *batch(seed))
            losses.append(float(numbers["loss"]))
        return losses


def close(got, want, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), got, want)


@pytest.mark.parametrize(
    "fields",
    [
        {"loss.class_weights": (0.5, 2.0, 0.0, 1.0)},
        *(
            pytest.param(fields, marks=pytest.mark.slow)
            for fields in ({}, {"loss.reduction": "sum", "optim.lr": 1e-4})
        ),
    ],
)
@pytest.mark.parametrize("parts", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_parts_of_a_batch_add_up_to_the_whole(fields, parts):
    """Parts have unequal numbers of labels: the mean is over all labels of the batch."""
    whole, split = Run(fields), Run(fields, accumulate=parts)
    np.testing.assert_allclose(split.go(3), whole.go(3), rtol=1e-6)
    close(split.state.params, whole.state.params, rtol=1e-5, atol=1e-7)
    assert int(split.state.step) == 3  # counts updates of the optimizer


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"loss.reduction": "sum"}, {"loss.name": "dice"}])
def test_the_loss_of_guessing(fields):
    """The reported loss of guessing equals that of a network with zero scores, over both heads."""
    run = Run(fields, accumulate=2)
    zeros = jax.tree.map(jnp.zeros_like, run.state.params)
    _, numbers = run.step(run.state.replace(params=zeros), *batch())
    if fields.get("loss.name") == "dice":
        assert np.isnan(numbers["guessing"])
    else:
        np.testing.assert_allclose(numbers["guessing"], numbers["loss"], rtol=1e-5)


@pytest.mark.slow
def test_a_batch_without_labels_in_parts():
    run = Run(accumulate=3)
    images, labels = batch()
    before = run.state.params
    state, numbers = run.step(run.state, images, np.full_like(labels, 255))
    assert numbers["loss"] == 0 and numbers["gradient_norm"] == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, before)


@pytest.mark.slow
def test_batch_norm_sees_a_part_at_a_time():
    """Running statistics are updated by the parts one after the other, as in Caffe."""
    run = Run(model=Toy(norm=True), accumulate=3)
    images, labels = batch()
    kernel, bias = (np.asarray(run.state.params["trunk"][k]) for k in ("kernel", "bias"))
    run.step(run.state, images, labels)
    mean = np.zeros(6)
    for part in range(3):
        x = (images[part::3] - np.float32(IMAGENET.mean)) / np.float32(IMAGENET.std)
        y = jax.lax.conv_general_dilated(
            x, kernel, (4, 4), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        mean = 0.9 * mean + 0.1 * np.asarray(y + bias).mean(axis=(0, 1, 2))
    after = run.step(run.state, images, labels)[0]
    np.testing.assert_allclose(after.batch_stats["norm"]["mean"], mean, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_each_part_drops_out_other_units():
    """Two equal parts, only one of them labelled, have losses that depend on which one."""
    run = Run(model=Toy(dropout=0.5), accumulate=2)
    images, labels = (np.repeat(a, 2, axis=0) for a in batch(n=3))

    def loss(part):
        some = labels.copy()
        some[1 - part :: 2] = 255
        return float(run.step(run.state, images, some)[1]["loss"])

    assert loss(0) != loss(1)
    assert loss(0) == loss(0)  # determined by the seed and the step


@pytest.mark.slow
def test_devices_that_share_a_batch_share_each_part(mesh):
    """Eight devices with two parts of eight images get the losses of one device."""
    from jaxseg.distributed.mesh import replicated, split_batch

    images, labels = (np.concatenate([a, a, a])[:16] for a in batch())
    run = Run(accumulate=2)
    whole, split = replicated(mesh), split_batch(mesh)
    step = jax.jit(run.step, in_shardings=(whole, split, split), out_shardings=whole)
    state, numbers = run.step(run.state, images, labels)
    got_state, got_numbers = step(run.state, images, labels)
    close((got_state.params, got_numbers), (state.params, numbers), rtol=1e-5, atol=1e-6)
    text = step.lower(run.state, images, labels).compile().as_text()
    assert "all-to-all" not in text and "collective-permute" not in text  # images stay in place


@pytest.mark.slow
def test_moving_average():
    """Equals its definition, for parameters and statistics, from the first step on."""
    run = Run(model=Toy(norm=True), ema=0.3)
    want, start = run.state.variables, run.state.params
    for step in range(1, 6):
        run.state, _ = run.step(run.state, *batch(step))
        d = min(0.3, step / (9 + step))
        now = {"params": run.state.params, "batch_stats": run.state.batch_stats}
        want = jax.tree.map(lambda a, w: d * a + (1 - d) * w, want, now)  # noqa: B023
        close(run.state.variables, want, rtol=1e-5, atol=1e-7)
    for other in (run.state.params, start):
        assert np.abs(want["params"]["score"]["kernel"] - other["score"]["kernel"]).max() > 1e-4
    plain = Run(model=Toy(norm=True))
    plain.go(1)
    jax.tree.map(np.testing.assert_array_equal, plain.state.variables["params"], plain.state.params)


def test_no_buffer_is_donated_twice():
    """A state with an average, which starts as a copy, is donated completely."""
    run = Run(model=Toy(norm=True), ema=0.9)
    step = jax.jit(run.step.__wrapped__, donate_argnums=0)
    old = jax.tree.leaves(run.state)
    step(run.state, *batch())
    assert all(a.is_deleted() for a in old)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"), [("sgd", "freeze"), pytest.param("adamw", "rules", marks=pytest.mark.slow)]
)
def test_frozen_parameters_stay_to_the_bit(name, how):
    """The others move as if the frozen ones had no gradient, also in the norm for clipping."""
    given = {"freeze": ("trunk", "norm/b"), "rules": (("trunk|norm/b", 0.0, 1.0),)}[how]
    run = Run(
        {
            "optim.name": name,
            "optim.weight_decay": 0.1,
            "optim.clip_norm": 0.01,
            f"optim.{how}": given,
        },
        model=Toy(norm=True),
        ema=0.5,
    )
    params = run.state.params
    params["trunk"]["kernel"] = params["trunk"]["kernel"].at[0, 0, 0, 0].set(-0.0)
    variables = {"params": params, "batch_stats": run.state.batch_stats}
    run.state = state_at_start(variables, run.optimizer, averaged=True)
    before = jax.device_get(run.state)
    images, labels = batch()
    state, numbers = run.step(run.state, images, labels)
    for kept in (state.params, state.average["params"]):
        for old, new in [
            *((before.params["trunk"][k], kept["trunk"][k]) for k in ("kernel", "bias")),
            (before.params["norm"]["bias"], kept["norm"]["bias"]),
        ]:
            np.testing.assert_array_equal(np.asarray(old).view(int), np.asarray(new).view(int))
    moved = [state.params["score"]["kernel"], state.params["norm"]["scale"]]
    stood = [before.params["score"]["kernel"], before.params["norm"]["scale"]]
    assert all((a != b).any() for a, b in zip(moved, stood, strict=True))
    p = before.params
    buffers = [a for a in jax.tree.leaves(state.opt_state) if a.ndim]
    assert not any(a.shape == p["trunk"]["kernel"].shape for a in buffers)  # no momentum is kept
    if how == "rules":
        return
    # the norm is that of the gradient with respect to the other parameters
    free = Run({"optim.clip_norm": 0.01}, model=Toy(norm=True))

    def loss(some):
        whole = before.params | {"score": some["score"], "aux": some["aux"]}
        whole["norm"] = before.params["norm"] | {"scale": some["scale"]}
        at = free.state.replace(params=whole)
        return free.step(at, images, labels)[1]["loss"]

    gradient = jax.grad(loss)({"score": p["score"], "aux": p["aux"], "scale": p["norm"]["scale"]})
    np.testing.assert_allclose(numbers["gradient_norm"], optax.tree.norm(gradient), rtol=1e-5)


@pytest.mark.slow
def test_optimizers_are_optax():
    """Any other optimizer of Optax works; the default loss is that of the default config."""
    model = Toy()
    optimizer = optax.adam(1e-2)
    state = create_state(model, optimizer, 0, SIZE)
    step = jax.jit(make_train_step(model, optimizer))
    losses = [make_train_step(model, optimizer, default_config().loss)(state, *batch())[1]["loss"]]
    np.testing.assert_allclose(step(state, *batch())[1]["loss"], losses.pop(), rtol=1e-6)
    for _ in range(8):
        state, numbers = step(state, *batch())
        losses.append(float(numbers["loss"]))
    assert losses[-1] < losses[0] - 0.01 and jnp.isfinite(losses[-1])


def test_evaluation_step_counts():
    """With labels of twice the images' size, compared with a direct count."""
    model = Toy(norm=True)
    state = create_state(model, optax.sgd(0.1), 0, SIZE)
    images, labels = batch()
    labels = np.repeat(np.repeat(labels, 2, axis=1), 2, axis=2)
    step = jax.jit(make_eval_step(model))
    confusion = step(state.variables, images, labels, np.ones((C, C), np.int32))
    head = model.apply(state.variables, normalize(images, IMAGENET), method="heads")[0]
    guess = np.asarray(head.upsampling.resized(labels.shape[1:])(head.logits).argmax(-1))
    for truth, predicted in np.ndindex(C, C):
        count = ((labels == truth) & (guess == predicted)).sum()
        assert confusion[truth, predicted] == 1 + count
    assert confusion.dtype == jnp.int32 and len(np.unique(guess)) > 1


@pytest.mark.slow
def test_a_loop_of_ones_own(repository, capsys):
    """The example reaches the score that it promises, and is short."""
    example = repository / "docs" / "train_loop.py"
    assert len(example.read_text().splitlines()) <= 48
    names = runpy.run_path(str(example))
    assert names["scores"]["mean_iou"] > 0.35
    assert "step 120: loss" in capsys.readouterr().out
