import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.distributed.mesh import split_batch
from jaxseg.errors import InputError
from jaxseg.losses import cross_entropy
from jaxseg.ops import align_corners, bilinear_deconv
from jaxseg.ops.upsampling import identity

C = 5
MAPS = {
    "fcn8s": bilinear_deconv((9, 10), (37, 43), stride=8, kernel=16, offset=31),
    "align_corners": align_corners((6, 5), (37, 23)),
    "none": identity((21, 14)),
}
slow = pytest.mark.slow
maps = pytest.mark.parametrize("up", MAPS.values(), ids=MAPS)


def example(up, n=3, seed=0, ignored=0.3, scale=3.0):
    """Logits [n, h, w, C] and labels [n, H, W], some of them 255."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(n, *up.in_size, C)).astype(np.float32)
    labels = rng.integers(0, C, (n, *up.out_size)).astype(np.uint8)
    labels[rng.random(labels.shape) < ignored] = 255
    return jnp.asarray(logits), jnp.asarray(labels)


def plain(logits, labels, up, ignore_label=255, class_weights=None, reduction="mean"):
    """The loss and its gradient by definition: float64, with all full-resolution logits."""
    rows, columns = (m.astype(np.float64) for m in up.matrices())
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    full = np.einsum("Hh,nhwc,Ww->nHWc", rows, logits, columns, optimize=True)
    full -= full.max(axis=-1, keepdims=True)
    log_p = full - np.log(np.exp(full).sum(axis=-1, keepdims=True))
    counted = labels != ignore_label
    chosen = np.eye(C)[np.where(counted, labels, 0)]
    weight = (chosen @ np.array(class_weights or [1.0] * C)) * counted
    total = logits.shape[0] if reduction == "sum" else weight.sum()
    gradient = (np.exp(log_p) - chosen) * weight[..., None] / total
    return (
        -((log_p * chosen).sum(axis=-1) * weight).sum() / total,
        np.einsum("Hh,nHWc,Ww->nhwc", rows, gradient, columns, optimize=True),
    )


def both(loss, logits):
    return jax.jit(jax.value_and_grad(loss))(logits)


def agree(got, want):
    """Compares the loss to 1e-5, and the gradient to 1e-5 of its largest value."""
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    scale = np.abs(want[1]).max()
    np.testing.assert_allclose(got[1] / scale, want[1] / scale, rtol=0, atol=1e-5)


@pytest.mark.default_cases(1)
@maps
@pytest.mark.parametrize(
    ("rows", "reduction"),
    [(5, "mean"), pytest.param(16, "sum", marks=slow), pytest.param(1000, "mean", marks=slow)],
)
def test_equals_the_plain_form(up, rows, reduction):
    logits, labels = example(up)
    how = {"reduction": reduction}
    got = both(lambda x: cross_entropy(x, labels, up, strip_rows=rows, **how), logits)
    agree(got, plain(logits, labels, up, **how))
    # without differentiation the loss runs another loop
    np.testing.assert_allclose(
        cross_entropy(logits, labels, up, strip_rows=rows, **how), got[0], rtol=1e-6
    )


def test_an_ignore_label_that_is_no_whole_number():
    labels = np.zeros((1, 2, 2), np.int32)
    with pytest.raises(InputError, match="ignore_label is 1.5"):
        cross_entropy(np.zeros((1, 2, 2, 3), np.float32), labels, ignore_label=1.5)


@pytest.mark.slow
def test_upsample_may_be_a_size_or_none():
    up = MAPS["align_corners"]
    logits, labels = example(up)
    assert cross_entropy(logits, labels, (37, 23)) == cross_entropy(logits, labels, up)
    up = MAPS["none"]
    logits, labels = example(up)
    assert cross_entropy(logits, labels) == cross_entropy(logits, labels, up)


@pytest.mark.parametrize(
    ("name", "weights"),
    [("fcn8s", (0.5, 2.0, 0.0, 1.0, 3.0)), ("align_corners", None), ("none", None)],
)
def test_equals_torch_cross_entropy(torch, name, weights):
    up = MAPS[name]
    logits, labels = example(up)
    full = torch.tensor(np.asarray(up(logits))).permute(0, 3, 1, 2).requires_grad_()
    want = torch.nn.functional.cross_entropy(
        full,
        torch.tensor(np.asarray(labels, np.int64)),
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=255,
    )
    want.backward()
    gradient = jax.vjp(up, logits)[1](jnp.asarray(full.grad.permute(0, 2, 3, 1).numpy()))[0]
    got = both(lambda x: cross_entropy(x, labels, up, class_weights=weights), logits)
    agree(got, (want.item(), gradient))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_class_weights(reduction):
    up, how = MAPS["fcn8s"], {"reduction": reduction, "class_weights": (0.5, 2.0, 0.0, 1.0, 3.0)}
    logits, labels = example(up)
    agree(
        both(lambda x: cross_entropy(x, labels, up, **how), logits),
        plain(logits, labels, up, **how),
    )


@pytest.mark.parametrize(
    ("reduction", "weights"), [("mean", None), ("sum", None), ("mean", (1.0, 1.0, 0.0, 1.0, 1.0))]
)
def test_nothing_labelled_is_exactly_0(reduction, weights):
    """Also where all labels have a class of weight 0; even infinite logits do no harm."""
    up = MAPS["fcn8s"]
    logits, labels = example(up)
    logits = logits.at[0, 0, 0, 0].set(jnp.inf).at[0, 2, 2, 0].set(jnp.nan)
    labels = jnp.full_like(labels, 255 if weights is None else 2)
    how = {"reduction": reduction, "class_weights": weights}
    loss, gradient = both(lambda x: cross_entropy(x, labels, up, **how), logits)
    assert loss == 0 and (gradient == 0).all()


def test_one_image_without_labels_among_others():
    up = MAPS["fcn8s"]
    logits, labels = example(up)
    labels = labels.at[1].set(255)
    loss, gradient = both(lambda x: cross_entropy(x, labels, up), logits)
    rest = [0, 2]
    wanted, _ = plain(logits[jnp.array(rest)], labels[jnp.array(rest)], up)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    assert (gradient[1] == 0).all() and (gradient[0] != 0).any()


@pytest.mark.parametrize(
    ("ignore_label", "dtype"),
    [(0, np.uint8), (3, np.int8), (-1, np.int32), (-1, np.uint8), (254, np.uint8)],
)
def test_ignore_label_and_label_dtype(ignore_label, dtype):
    up = MAPS["align_corners"]
    logits, labels = example(up)
    here = ignore_label if dtype != np.uint8 else max(ignore_label, 0)  # uint8 cannot hold -1
    labels = np.where(labels == 255, here, np.asarray(labels, int)).astype(dtype)
    agree(
        both(lambda x: cross_entropy(x, labels, up, ignore_label=ignore_label), logits),
        plain(logits, labels, up, ignore_label=ignore_label),
    )


def test_labels_may_be_numpy():
    up = MAPS["none"]
    logits, labels = example(up)
    got = cross_entropy(np.asarray(logits), np.asarray(labels))
    assert got == cross_entropy(logits, labels)


def test_labels_out_of_range():
    """Refused where the labels are known; under jit they are not counted."""
    up = MAPS["align_corners"]
    logits, labels = example(up)
    wrong = labels.astype(jnp.int32).at[0, :2, 0].set(jnp.array([C, 17])).at[1, 0, 0].set(-4)
    with pytest.raises(InputError, match=f"-4, {C}, 17") as error:
        cross_entropy(logits, wrong, up)
    assert "255" in error.value.problem
    right = labels.at[0, :2, 0].set(255).at[1, 0, 0].set(255)

    @jax.jit
    def run(logits, labels):
        return jax.value_and_grad(cross_entropy)(logits, labels, up)

    assert jax.tree.all(
        jax.tree.map(np.array_equal, run(logits, wrong), run(logits, right.astype(jnp.int32)))
    )
    # another program may sum in another order, so the last bit depends on compiler and CPU
    value = run(logits, right.astype(jnp.int32))[0]
    np.testing.assert_allclose(value, cross_entropy(logits, right, up), rtol=1e-6)


def test_huge_logits_stay_finite():
    up = MAPS["fcn8s"]
    logits, labels = example(up, scale=1e4)
    got = both(lambda x: cross_entropy(x, labels, up), logits)
    assert np.isfinite(got[0]) and np.isfinite(got[1]).all() and got[0] > 1000
    agree(got, plain(logits, labels, up))


def test_bfloat16_logits():
    """They are summed in float32, and their gradient is bfloat16."""
    up = MAPS["fcn8s"]
    logits, labels = example(up)
    logits = logits.astype(jnp.bfloat16)
    loss, gradient = both(lambda x: cross_entropy(x, labels, up), logits)
    want = plain(logits, labels, up)
    assert loss.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(loss, want[0], rtol=1e-5)
    np.testing.assert_allclose(np.float32(gradient), want[1], rtol=2**-8, atol=1e-7)


def test_vmap():
    up = MAPS["fcn8s"]
    pairs = [example(up, n=2, seed=seed) for seed in range(3)]
    logits, labels = (jnp.stack(part) for part in zip(*pairs, strict=True))
    got = jax.jit(jax.vmap(jax.value_and_grad(lambda x, y: cross_entropy(x, y, up))))(
        logits, labels
    )
    for i, (x, y) in enumerate(pairs):
        agree((got[0][i], got[1][i]), plain(x, y, up))


def test_is_compiled_once():
    up = MAPS["fcn8s"]
    traces = []

    @jax.jit
    def run(logits, labels):
        traces.append(0)
        return cross_entropy(logits, labels, up)

    for seed in range(2):
        logits, labels = example(up, seed=seed)
        np.testing.assert_allclose(run(logits, labels), plain(logits, labels, up)[0], rtol=1e-5)
    assert len(traces) == 1


@pytest.mark.slow
def test_cotangent_scales_the_gradient():
    up = MAPS["fcn8s"]
    logits, labels = example(up)
    one = jax.grad(lambda x: cross_entropy(x, labels, up))(logits)
    some = jax.grad(lambda x: -0.4 * cross_entropy(x, labels, up))(logits)
    np.testing.assert_allclose(some, -0.4 * one, rtol=1e-5, atol=1e-9)


def test_full_resolution_logits_are_never_in_memory():
    """2 images of 480×480 with 21 classes: 77 MB as one array."""
    up = align_corners((60, 60), (480, 480))
    logits = jax.ShapeDtypeStruct((2, 60, 60, 21), jnp.float32)
    labels = jax.ShapeDtypeStruct((2, 480, 480), jnp.int32)

    def megabytes(loss):
        run = jax.jit(jax.value_and_grad(loss)).lower(logits, labels).compile()
        return run.memory_analysis().temp_size_in_bytes / 1e6

    def whole(logits, labels):
        log_p = jax.nn.log_softmax(up(logits))
        return -(jax.nn.one_hot(labels, 21) * log_p).sum()

    assert megabytes(lambda x, y: cross_entropy(x, y, up)) < 8
    assert megabytes(whole) > 90


def test_eight_devices_get_the_loss_of_one(mesh):
    up = MAPS["fcn8s"]
    logits, labels = example(up, n=8)
    labels = labels.at[3].set(255)  # devices have unequal numbers of labels
    run = jax.value_and_grad(lambda x, y: cross_entropy(x, y, up))
    split = split_batch(mesh)
    got = jax.jit(run, in_shardings=(split, split))(logits, labels)
    assert len(got[1].sharding.device_set) == 8
    agree(got, jax.jit(run)(logits, labels))


@pytest.mark.parametrize(
    ("logits", "labels", "fields", "message"),
    [
        ((2, 4, 4, 5), (3, 4, 4), {}, "do not match"),
        ((2, 4, 4, 5), (2, 4, 4, 1), {}, "do not match"),
        ((4, 4, 5), (4, 4), {}, "do not match"),
        ((2, 4, 4, 5), (2, 8, 8), {}, "upsampling maps"),
        ((2, 4, 4, 5), (2, 8, 8), {"upsample": (8, 9)}, "upsampling maps"),
        ((2, 4, 4, 5), (2, 8, 8), {"upsample": align_corners((5, 4), (8, 8))}, "upsampling maps"),
        ((2, 4, 4, 5), (2, 4, 4), {"reduction": "none"}, "reduction"),
        ((2, 4, 4, 5), (2, 4, 4), {"class_weights": [1.0] * 4}, "class weights"),
        ((2, 4, 4, 5), (2, 4, 4), {"class_weights": [1.0] * 4 + [-1.0]}, "class weights"),
    ],
)
def test_what_does_not_fit(logits, labels, fields, message):
    with pytest.raises(InputError, match=message):
        cross_entropy(jnp.zeros(logits), jnp.zeros(labels, jnp.int32), **fields)


def test_labels_must_be_integers():
    with pytest.raises(InputError, match="float32"):
        cross_entropy(jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 2, 2)))
