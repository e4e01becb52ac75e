"""Focal, OHEM, Dice, Lovász-softmax and label smoothing, against PyTorch in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseg import create_model, losses, make_train_step
from jaxseg.config import default_config
from jaxseg.distributed.mesh import split_batch
from jaxseg.errors import InputError
from jaxseg.ops import align_corners, bilinear_deconv
from jaxseg.ops.upsampling import identity

C = 5
WEIGHTS = (0.5, 2.0, 0.0, 1.0, 3.0)
FCN8S = bilinear_deconv((9, 10), (37, 43), stride=8, kernel=16, offset=31)
PLAIN = identity((13, 11))


def example(up, n=3, scale=3.0, without=None):
    """Logits [n, h, w, C] and labels [n, H, W], some of them 255, none of class `without`."""
    rng = np.random.default_rng(7)
    logits = rng.normal(scale=scale, size=(n, *up.in_size, C)).astype(np.float32)
    labels = rng.choice([c for c in range(C) if c != without], (n, *up.out_size)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.3] = 255
    return jnp.asarray(logits), jnp.asarray(labels)


class ByTheBook:
    """Each loss by its definition, on logits [P, C] and labels [P] without ignored pixels."""

    def __init__(self, torch):
        self.torch = torch

    def smoothed(self, x, y, weights, smoothing=0.2):
        weights = self.torch.tensor(weights, dtype=x.dtype)
        return self.torch.nn.functional.cross_entropy(x, y, weights, label_smoothing=smoothing)

    def focal(self, x, y, weights, gamma):
        p = x.softmax(1)[range(len(y)), y]
        w = self.torch.tensor(weights, dtype=x.dtype)[y]
        return (w * (1 - p) ** gamma * -p.log()).sum() / w.sum()

    def ohem(self, x, y, weights, threshold, share):
        p = x.softmax(1)[range(len(y)), y].detach()
        worst = p.sort().values
        count = math.ceil(share * len(y))
        hard = p < threshold
        if count:
            hard |= p <= worst[count - 1]
        weights = self.torch.tensor(weights, dtype=x.dtype)
        return self.torch.nn.functional.cross_entropy(x[hard], y[hard], weights)

    def dice(self, x, y, weights):
        p, t = x.softmax(1), self.torch.nn.functional.one_hot(y, C).to(x.dtype)
        loss = 1 - 2 * (p * t).sum(0) / (p.sum(0) + t.sum(0))
        w = self.torch.tensor(weights, dtype=x.dtype) * (t.sum(0) > 0)
        return (w * loss).sum() / w.sum()

    def lovasz(self, x, y, weights):
        p, total, parts = x.softmax(1), 0.0, []
        for c in range(C):
            truth = (y == c).to(x.dtype)
            if not truth.sum():
                continue
            errors, order = (truth - p[:, c]).abs().sort(descending=True)
            truth = truth[order]
            one_minus_iou = 1 - (truth.sum() - truth.cumsum(0)) / (
                truth.sum() + (1 - truth).cumsum(0)
            )
            steps = self.torch.diff(one_minus_iou, prepend=self.torch.zeros(1, dtype=x.dtype))
            parts.append(weights[c] * (errors * steps).sum())
            total += weights[c]
        return sum(parts) / total


CASES = {
    "smoothed": (losses.cross_entropy, {"smoothing": 0.2}),
    "focal": (losses.focal, {"gamma": 2.0}),
    "focal, a root": (losses.focal, {"gamma": 0.5}),
    "ohem": (losses.ohem, {"threshold": 0.01, "share": 0.25}),
    "ohem, threshold alone": (losses.ohem, {"threshold": 0.7, "share": 0.0}),
    "dice": (losses.dice, {}),
    "lovasz": (losses.lovasz, {}),
}
cases = pytest.mark.parametrize("case", CASES)


def reference(torch, case, logits, labels, up, weights):
    """The loss, and its gradient with respect to the coarse logits."""
    rows, columns = (torch.tensor(m.astype(np.float64)) for m in up.matrices())
    x = torch.tensor(np.asarray(logits, np.float64), requires_grad=True)
    full = torch.einsum("Hh,nhwc,Ww->nHWc", rows, x, columns)
    y = torch.tensor(np.asarray(labels, np.int64))
    loss = getattr(ByTheBook(torch), case.split(",")[0])
    value = loss(full[y != 255], y[y != 255], weights, **CASES[case][1])
    value.backward()
    return value.item(), x.grad.numpy()


def both(case, up, labels, weights=None, **fields):
    function, how = CASES[case]

    def loss(x):
        return function(x, labels, up, class_weights=weights, **(how | fields))

    return jax.jit(jax.value_and_grad(loss))


def agree(got, want, atol=1e-5):
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    scale = np.abs(want[1]).max()
    np.testing.assert_allclose(got[1] / scale, want[1] / scale, rtol=0, atol=atol)


@pytest.mark.default_cases(2)
@cases
@pytest.mark.parametrize(
    ("up", "weights", "without"),
    [
        (FCN8S, None, None),
        pytest.param(FCN8S, WEIGHTS, 3, marks=pytest.mark.slow),
        pytest.param(PLAIN, WEIGHTS, None, marks=pytest.mark.slow),
        pytest.param(align_corners((6, 5), (37, 23)), None, 0, marks=pytest.mark.slow),
    ],
)
def test_equals_torch(torch, case, up, weights, without):
    logits, labels = example(up, without=without)
    want = reference(torch, case, logits, labels, up, weights or (1.0,) * C)
    run = both(case, up, labels, weights, strip_rows=5)
    # nearly equal errors may sort differently in float32 and float64
    agree(run(logits), want, atol=1e-3 if case == "lovasz" else 1e-5)
    assert np.abs(want[1]).max() > 1e-6
    value = CASES[case][0](logits, labels, up, class_weights=weights, **CASES[case][1])
    np.testing.assert_allclose(value, want[0], rtol=1e-5)  # without a gradient


@cases
def test_nothing_labelled_is_exactly_0(case):
    """Even infinite logits do no harm."""
    logits, labels = example(PLAIN)
    logits = logits.at[0, 0, 0, 0].set(jnp.inf).at[0, 2, 2, 0].set(jnp.nan)
    value, gradient = both(case, PLAIN, jnp.full_like(labels, 255))(logits)
    assert value == 0 and (gradient == 0).all()


@cases
@pytest.mark.slow
def test_ignored_pixels_count_nothing(case):
    """Their logits do not matter."""
    logits, labels = example(PLAIN)
    run = both(case, PLAIN, labels)
    ignored = (labels == 255)[..., None]
    want, got = run(logits), run(jnp.where(ignored, 30 * logits[::-1], logits))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], want[1], atol=1e-8)
    assert (jnp.where(ignored, got[1], 0) == 0).all()


@cases
@pytest.mark.slow
def test_bfloat16_logits(case):
    """They are summed in float32, and their gradient is bfloat16."""
    logits, labels = example(FCN8S)
    logits = logits.astype(jnp.bfloat16)
    run = both(case, FCN8S, labels)
    value, gradient = run(logits)
    want = run(logits.astype(jnp.float32))
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, want[0], rtol=1e-6)
    np.testing.assert_allclose(np.float32(gradient), want[1], rtol=2**-8, atol=1e-7)


@cases
@pytest.mark.slow
def test_huge_logits_stay_finite(torch, case):
    logits, labels = example(FCN8S, scale=1e3)
    value, gradient = both(case, FCN8S, labels)(logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    want = reference(torch, case, logits, labels, FCN8S, (1.0,) * C)[0]
    if np.isfinite(want):  # in float64 -log p overflows at 745
        np.testing.assert_allclose(value, want, rtol=1e-4)


@cases
@pytest.mark.slow
def test_a_logit_that_is_no_number_is_not_hidden(case):
    logits, labels = example(PLAIN)
    labels = labels.at[1, 2, 3].set(1)
    assert np.isnan(both(case, PLAIN, labels)(logits.at[1, 2, 3, 0].set(jnp.nan))[0])


@cases
@pytest.mark.slow
def test_eight_devices_get_the_loss_of_one(mesh, case):
    function, how = CASES[case]
    logits, labels = example(FCN8S, n=8)
    run = jax.value_and_grad(lambda x, y: function(x, y, FCN8S, **how))
    split = split_batch(mesh)
    got = jax.jit(run, in_shardings=(split, split))(logits, labels)
    agree(got, jax.jit(run)(logits, labels))


@pytest.mark.slow
@pytest.mark.parametrize(("case", "megabytes"), [("ohem", 24), ("dice", 16), ("lovasz", 40)])
def test_full_resolution_logits_are_never_in_memory(case, megabytes):
    """2 images of 480×480 with 50 classes: 184 MB as one array."""
    up = align_corners((60, 60), (480, 480))
    logits = jax.ShapeDtypeStruct((2, 60, 60, 50), jnp.float32)
    labels = jax.ShapeDtypeStruct((2, 480, 480), jnp.int32)
    function, how = CASES[case]
    run = jax.jit(jax.value_and_grad(lambda x, y: function(x, y, up, **how)))
    used = run.lower(logits, labels).compile().memory_analysis().temp_size_in_bytes / 1e6
    assert used < megabytes


@pytest.mark.slow
def test_ohem_counts_ties_and_may_choose_none():
    labels = jnp.zeros([1, 1, 4], int)
    logits = jnp.array([[[[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [9.0, 0.0]]]])
    hard = losses.cross_entropy(logits[:, :, 1:2], labels[:, :, :1])
    one = losses.ohem(logits, labels, threshold=0.0, share=0.25)
    np.testing.assert_allclose(one, hard, rtol=1e-6)  # two pixels tie
    assert losses.ohem(logits, labels, threshold=0.0, share=0.0) == 0
    all_ = losses.ohem(logits, labels, threshold=1.0, share=0.0)
    np.testing.assert_allclose(all_, losses.cross_entropy(logits, labels), rtol=1e-6)


@pytest.mark.slow
def test_dice_and_lovasz_of_a_perfect_prediction():
    _, labels = example(PLAIN)
    right = 30 * jax.nn.one_hot(labels, C)
    for loss in (losses.dice, losses.lovasz):
        assert abs(float(loss(right, labels))) < 1e-6
        assert loss(jnp.roll(right, 1, axis=-1), labels) > 0.99


@pytest.mark.slow
def test_lovasz_of_hard_predictions_is_1_minus_mean_iou():
    """As in the paper: at the corners of the cube the surrogate equals the score."""
    from jaxseg.metrics import confusion_matrix, scores

    _, labels = example(PLAIN)
    guess = jnp.asarray(np.random.default_rng(3).integers(0, C, labels.shape))
    guess = jnp.where(jnp.arange(11) % 3 > 0, jnp.minimum(labels, C - 1), guess)
    got = losses.lovasz(60.0 * jax.nn.one_hot(guess, C), labels)
    mean_iou = scores(confusion_matrix(labels, guess, C))["mean_iou"]
    np.testing.assert_allclose(got, 1 - mean_iou, rtol=1e-5)


@pytest.mark.slow
def test_named_losses():
    """Each loss by its name with a config's fields; a sum of losses adds up."""
    logits, labels = example(PLAIN, n=1)
    config = default_config().loss
    fields = {"class_weights": WEIGHTS, "ignore_label": 255}
    for name, given in losses.TAKES.items():
        named = losses.named_loss(**dict(config) | {"name": name} | fields)
        own = {field: config[field] for field in given}
        assert named(logits, labels) == losses.LOSSES[name](logits, labels, **own, **fields)
    both_ = losses.named_loss("dice+focal", gamma=1.0)(logits, labels)
    alone = losses.dice(logits, labels) + losses.focal(logits, labels, gamma=1.0)
    np.testing.assert_allclose(both_, alone, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: losses.focal(x, y, gamma=-1.0), "gamma is -1.0"),
        (lambda x, y: losses.cross_entropy(x, y, smoothing=1.5), "smoothing is 1.5"),
        (lambda x, y: losses.ohem(x, y, share=2.0), "share is 2.0"),
        (lambda x, y: losses.ohem(x, y, threshold=-0.1), "threshold is -0.1"),
        (lambda x, y: losses.dice(x, y[:, 1:]), "upsampling maps"),
        (lambda x, y: losses.lovasz(x, y, class_weights=[1.0]), "class weights"),
        (lambda x, y: losses.named_loss("focals"), "'focal'"),
        (lambda x, y: losses.named_loss("dice+dice"), "twice"),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(InputError, match=message):
        call(*example(PLAIN, n=1))


@pytest.mark.parametrize(
    ("loss", "problem", "remedy"),
    [
        ({"smothing": 0.1}, "no field 'smothing'", "smoothing"),
        ({"name": "dice", "gamma": 3.0}, "has no effect for 'dice'", "'focal'"),
        ({"weights": (1.0,) * 3}, "no field 'weights'", "class_weights"),
    ],
)
def test_a_field_that_does_nothing_is_refused(loss, problem, remedy):
    with pytest.raises(InputError, match=problem) as error:
        losses.named_loss(**loss)
    assert remedy in error.value.remedy
    model = create_model("fcn8s_vgg16", 3, width=0.05, padding=1)
    with pytest.raises(InputError, match=problem):
        make_train_step(model, optax.sgd(0.1), loss)
