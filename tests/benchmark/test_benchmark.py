import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxseg
from jaxseg.benchmark import benchmark, benchmark_table, count_flops
from jaxseg.cli import run
from jaxseg.errors import InputError
from jaxseg.losses import cross_entropy
from jaxseg.ops.dispatch import dispatch
from jaxseg.ops.strips import Strips
from jaxseg.ops.upsampling import align_corners


def shaped(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def met(size, kernel, padding, stride=1, dilation=1, spread=1):
    """Counts the pairs of an output cell and a kernel position that read an input cell."""
    cells = np.zeros((size - 1) * spread + 1, int)
    cells[::spread] = 1
    cells = np.pad(cells, padding)
    starts = range(0, len(cells) - dilation * (kernel - 1), stride)
    return sum(cells[start + dilation * i] for start in starts for i in range(kernel))


@pytest.mark.parametrize(
    ("size", "kernel", "padding", "stride", "dilation", "spread"),
    [
        ((9, 6), 3, 1, 1, 1, 1),
        ((9, 6), 3, 1, 2, 1, 1),
        ((9, 6), 3, 4, 1, 4, 1),
        ((5, 7), 7, 3, 1, 1, 1),
        ((5, 4), 4, 3, 1, 1, 2),
        ((6, 5), 1, 0, 2, 1, 1),
    ],
)
def test_a_convolution(size, kernel, padding, stride, dilation, spread):
    def conv(x, w, groups=1):
        return lax.conv_general_dilated(
            x,
            w,
            (stride, stride),
            [(padding, padding)] * 2,
            lhs_dilation=(spread, spread),
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    x, w = shaped(2, *size, 4), shaped(kernel, kernel, 4, 6)
    places = np.prod([met(n, kernel, padding, stride, dilation, spread) for n in size])
    assert count_flops(conv, x, w) == 2 * 2 * places * 4 * 6
    assert count_flops(conv, x, w) == jax.jit(conv).lower(x, w).cost_analysis()["flops"]
    both = jax.grad(lambda x, w: conv(x, w).sum(), argnums=(0, 1))
    assert count_flops(both, x, w) == 2 * 2 * 2 * places * 4 * 6  # each gradient costs the same
    halves = functools.partial(conv, groups=2)
    assert count_flops(halves, x, shaped(kernel, kernel, 2, 6)) == 2 * 2 * places * 2 * 6


def test_loops_and_branches():
    x = shaped(8, 8)

    def loop(x):
        return lax.scan(lambda c, _: (c @ x, None), x, None, length=10)[0]

    assert count_flops(loop, x) == 10 * 2 * 8**3
    assert count_flops(lambda x: lax.cond(x[0, 0] > 0, loop, lambda x: x, x), x) == 10 * 2 * 8**3

    def each(x):
        return dispatch("conv2d", x, reference=lambda x: x @ x, cpu=loop)

    assert count_flops(each, x) == 2 * 8**3
    assert count_flops(jax.jit(jax.checkpoint(each)), x) == 2 * 8**3


@pytest.mark.slow
def test_a_train_step_of_fcn8s_counted_by_hand():
    """Three products per convolution; only two for those whose input is the image."""
    c, n, size = 5, 2, (64, 96)
    model = jaxseg.create_model("fcn8s_vgg16", num_classes=c, width=1 / 16, padding=1, dropout=0.0)

    def loss(params, images, labels):
        (head,) = model.apply({"params": params}, images, method="heads")
        return cross_entropy(head.logits, labels, head.upsampling)

    images = shaped(n, *size, 3)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    labels = jax.ShapeDtypeStruct((n, *size), jnp.uint8)
    found = count_flops(jax.value_and_grad(loss), variables["params"], images, labels)

    def layer(shape, kernel, inputs, outputs):
        return 2 * n * inputs * outputs * np.prod([met(m, kernel, kernel // 2) for m in shape])

    def matrices(up):
        (rows, h), (columns, w) = (m.shape for m in up.matrices())
        return 2 * n * c * (h * w * columns + rows * h * columns)

    by_hand, channels, shape = 0, 3, size
    for block, outputs in ((2, 4), (2, 8), (3, 16), (3, 32), (3, 32)):
        for _ in range(block):
            by_hand += layer(shape, 3, channels, outputs) * (2 if channels == 3 else 3)
            channels = outputs
        shape = tuple(m // 2 for m in shape)
    by_hand += 3 * layer(shape, 7, 32, 256) + 3 * layer(shape, 1, 256, 256)
    for stride, inputs in ((32, 256), (16, 32), (8, 16)):
        by_hand += 3 * layer([m // stride for m in size], 1, inputs, c)
    for stride in (32, 16):  # the two upsamplings by 2: forward and backward, without weights
        coarse, fine = ([m // s for m in size] for s in (stride, stride // 2))
        by_hand += 2 * matrices(align_corners(tuple(coarse), tuple(fine)))
    (head,) = jax.eval_shape(lambda v, x: model.apply(v, x, method="heads"), variables, images)
    strips = Strips(head.upsampling)
    rows, (columns, w) = strips.rows, strips.columns.shape
    strip = 2 * n * c * (strips.band * w * columns + rows * strips.band * columns)
    assert found == by_hand + 2 * strips.count * strip


@pytest.mark.slow
def test_operations_of_pspnet50_s_train_step():
    """About 0.92 TFLOP for a 473×473 training image with 150 classes, minus one saving.

    The saving: the convolution of the head does not read the 2048 pyramid channels at all 60×60
    positions.
    """
    model = jaxseg.create_model("pspnet_resnet50", num_classes=150)
    images, labels = shaped(2, 473, 473, 3), jax.ShapeDtypeStruct((2, 473, 473), jnp.uint8)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def loss(params, batch_stats, images, labels):
        heads, _ = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            method="heads",
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return sum(h.weight * cross_entropy(h.logits, labels, h.upsampling) for h in heads)

    flops = count_flops(
        jax.grad(loss), variables["params"], variables["batch_stats"], images, labels
    )
    places = (3 * 60 - 2) ** 2  # kernel positions inside the map, out of nine for each of 60×60
    spared = 3 * 2 * places * 2048 * 512  # forward, and gradients of the input and the kernel
    for b in (1, 2, 3, 6):  # minus the cost of the levels' cells, which replaces a plain resize

        def resize(cells):  # columns first, then rows
            return 2 * 512 * (cells * 60 * cells + 60 * 60 * cells)

        spared -= 3 * 2 * b * b * 512 * 9 * 512 + 2 * (resize(3 * b) - resize(b))
    assert 0.85e12 < flops / 2 + spared < 1.0e12
    assert flops / 2 < 0.81e12


@pytest.fixture(scope="module")
def measured(tiny):
    return benchmark(tiny(), "train", repeats=2)


@pytest.mark.optimized
def test_train(measured):
    assert measured["image_size"] == [32, 32] and measured["batch_size"] == 8
    step = measured["step_milliseconds"]
    assert 0 < step["lowest"] <= step["median"] <= step["highest"]
    assert measured["images_per_second"] == pytest.approx(8000 / step["median"])
    assert 0 <= measured["data_wait_share"] <= 1
    assert measured["flops_per_image"] > 1e6 and measured["compile_seconds"] > 0
    assert measured["peak_flops"] is None and measured["share_of_peak"] is None
    state = measured["program_bytes"]["argument"]
    assert 8 * measured["parameters"] < state < 9 * measured["parameters"] + 1e6  # with momentum
    assert measured["peak_bytes"]["process"] > measured["program_bytes"]["temporary"] > 0


@pytest.mark.optimized
def test_recomputing_is_no_operation_of_the_network(measured, tiny):
    again = benchmark(tiny({"model.remat": True}), "train", repeats=1)
    assert again["flops_per_image"] == measured["flops_per_image"]


@pytest.mark.slow
def test_the_command(words, tmp_path, capsys):
    _, *args = words(tmp_path / "none")
    at = args.index("--workdir")
    del args[at : at + 2]
    for what in ("eval", "loader"):
        file = tmp_path / f"{what}.json"
        assert run(["benchmark", *args, "--what", what, "--json", str(file), "--repeats", "2"]) == 0
        result = json.loads(file.read_text())
        assert benchmark_table(result) in capsys.readouterr().out
        assert result["what"] == what and result["images_per_second"] > 0
        if what == "eval":
            assert result["images"] == 5 and result["later_compilations"] == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words_", "message"),
    [
        (["--what", "trian"], "'train'"),
        (["--repeats", "0"], "repeats is 0"),
        (["--json", "/nowhere/x.json"], "does not exist"),
    ],
)
def test_what_is_refused(words_, message, tiny_file, capsys):
    assert run(["benchmark", "--config", str(tiny_file), *words_]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.optimized
def test_compile(tiny):
    result = benchmark(tiny(), "compile")
    assert result["compile_seconds"] > 0 and result["evaluation_compilations"] >= 1


def test_unknown_kind(tiny):
    with pytest.raises(InputError, match="loader"):
        benchmark(tiny(), "loaders")
