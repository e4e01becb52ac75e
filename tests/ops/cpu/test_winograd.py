"""Winograd's form of the 3×3 convolution, used only by layers of many channels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import close, conv_loop, torchs, with_gradients, xla

from jaxseg.ops import implementation
from jaxseg.ops.convolution import conv2d
from jaxseg.ops.cpu import winograd as module
from jaxseg.ops.cpu.winograd import winograd, winograd_kernel_gradient

CASES = [  # padding, (H, W), dilation
    (1, (7, 5), 1),
    (0, (9, 6), 1),
    (1, (1, 1), 1),
    (2, (5, 5), 1),
    (100, (7, 5), 1),
    (1, (33, 20), 1),
    (2, (9, 6), 2),
    (0, (9, 10), 4),
    (4, (3, 1), 4),
    (2, (10, 6), 2),  # odd numbers of rows and columns per phase, which share zeros with the next
    (4, (15, 16), 4),
]
every_case = pytest.mark.parametrize(
    ("padding", "size", "dilation"),
    [
        pytest.param(*case, marks=() if i in (0, 4, 8) else pytest.mark.slow)
        for i, case in enumerate(CASES)
    ],
)
# A padding of 100 has its own gradient form; what else differs is compared in every_case.
some_cases = pytest.mark.parametrize(
    ("padding", "size", "dilation"),
    [CASES[4], *(pytest.param(*case, marks=pytest.mark.slow) for case in (CASES[0], CASES[-1]))],
)


def arrays(padding, size, dilation, inputs=3, outputs=5, images=2):
    rng = np.random.default_rng(padding)
    out = [n + 2 * padding - 2 * dilation for n in size]
    shapes = (images, *size, inputs), (3, 3, inputs, outputs), (images, *out, outputs)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def spy(monkeypatch):
    """Records the names of Winograd's functions that conv2d calls from now on."""
    jax.clear_caches()  # else a convolution that another test traced is not traced again
    called = []
    for name in ("winograd", "winograd_kernel_gradient"):
        form = getattr(module, name)

        def run(*args, name=name, form=form, **how):
            called.append(f"{name} turned" if how.get("turned") else name)
            return form(*args, **how)

        monkeypatch.setattr(f"jaxseg.ops.cpu.convolution.{name}", run)
    return called


@pytest.mark.default_cases(1)
@every_case
def test_is_the_sum_over_places(padding, size, dilation):
    x, kernel, dy = arrays(padding, size, dilation)
    how = {"padding": padding, "dilation": dilation}
    close(jax.jit(functools.partial(winograd, **how))(x, kernel), conv_loop(x, kernel, **how))
    got = jax.jit(functools.partial(winograd_kernel_gradient, **how))(x, dy)
    close(got, jax.jit(with_gradients(xla, padding, dilation))(x, kernel, dy)[2])


@pytest.mark.slow
@some_cases
def test_bands_are_the_whole(monkeypatch, padding, size, dilation):
    x, kernel, dy = arrays(padding, size, dilation)
    how = {"padding": padding, "dilation": dilation}
    for form, other in ((winograd, kernel), (winograd_kernel_gradient, dy)):
        whole = form(x, other, **how)
        with monkeypatch.context() as patch:
            patch.setattr(module, "BAND_CELLS", 1)
            patch.setattr(module, "BAND_VALUES", 40)
            form.clear_cache()  # of programs traced with the default bands
            assert "scan" in str(jax.make_jaxpr(functools.partial(form, **how))(x, other))
            close(jax.jit(functools.partial(form, **how))(x, other), whole, 1e-6)
        form.clear_cache()


def test_an_odd_number_of_rows_needs_no_tile_for_padding():
    """PSPNet's last stage at 473 pixels: 60 rows, in four phases of 15 for dilation 4."""
    x, kernel, _ = arrays(4, (60, 60), 4)
    form = functools.partial(winograd, padding=4, dilation=4)
    text = str(jax.make_jaxpr(form)(x, kernel))
    assert text.count("dot_general[") == 16
    assert f"f32[{2 * 16 * 8 * 8},5]" in text  # 16 phases of 8×8 tiles in each of the two images
    close(form(x, kernel), conv_loop(x, kernel, padding=4, dilation=4))


def test_is_as_exact_as_the_plain_sum():
    x, kernel, _ = arrays(1, (24, 24), 1, 256, 256, 1)
    exact = conv_loop(np.float64(x), np.float64(kernel), 1, 1)
    plain = np.abs(xla(x, kernel, 1) - exact).max()
    ours = np.abs(winograd(x, kernel, padding=1, dilation=1) - exact).max()
    assert ours < 4 * plain
    assert ours < 2e-6 * np.abs(exact).max()


@pytest.mark.slow
@some_cases
def test_layers_of_many_channels_use_it_with_equal_gradients(monkeypatch, padding, size, dilation):
    called = spy(monkeypatch)
    x, kernel, dy = arrays(padding, size, dilation, 128, 136)
    got = jax.jit(with_gradients(conv2d, padding, dilation))(x, kernel, dy)
    turned = {"winograd turned"} if padding <= 2 * dilation else set()
    assert set(called) == {"winograd", "winograd_kernel_gradient"} | turned
    want = jax.jit(with_gradients(xla, padding, dilation))(x, kernel, dy)
    for a, b in zip(got, want, strict=True):
        close(a, b, 3e-6)


@pytest.mark.slow
@every_case
def test_many_channels_are_torchs(torch, padding, size, dilation):
    x, kernel, dy = arrays(padding, size, dilation, 128, 136)
    got = jax.jit(with_gradients(conv2d, padding, dilation))(x, kernel, dy)
    for a, b in zip(got, torchs(torch, x, kernel, dy, padding, dilation), strict=True):
        close(a, b, 3e-6)


@pytest.mark.parametrize(("inputs", "dtype"), [(127, jnp.float32), (128, jnp.bfloat16)])
def test_other_layers_do_not_use_it(monkeypatch, inputs, dtype):
    called = spy(monkeypatch)
    arguments = [a.astype(dtype) for a in arrays(1, (4, 5), 1, inputs, 128)]
    jax.eval_shape(with_gradients(conv2d, 1), *arguments)
    assert not called


@pytest.mark.slow
def test_a_symbolic_size_takes_xlas_form():
    x, kernel, _ = arrays(1, (6, 5), 1, 128, 128)
    shape = jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, h, w, 128"), jnp.float32)
    run = jax.jit(lambda x: conv2d(x, kernel, 1))
    exported = jax.export.export(run, platforms=["cpu"])(shape)
    close(exported.call(x), xla(x, kernel, 1))


def test_the_reference_form_is_a_convolution():
    x, kernel, _ = arrays(1, (6, 5), 1, 128, 128)

    def text():
        return str(jax.make_jaxpr(lambda x: conv2d(x, kernel, 1))(x))

    with implementation("reference"):
        assert "conv_general_dilated" in text()
        assert "dot_general" not in text()
    assert "dot_general" in text()


def test_only_cpus_use_it():
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays(1, (8, 9), 1, 128, 128)]
    run = jax.jit(with_gradients(conv2d, 1))
    for platform in ("cuda", "tpu"):
        text = run.trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.convolution(") == 3
        assert "dot_general" not in text
    text = jax.export.export(run, platforms=["cpu"])(*shapes).mlir_module()
    assert "stablehlo.convolution" not in text


@pytest.mark.slow
def test_vmap_and_checkpoint():
    x, kernel, dy = arrays(1, (6, 5), 1, 128, 128)
    want = jax.jit(with_gradients(xla, 1))(x, kernel, dy)
    again = with_gradients(jax.checkpoint(conv2d, static_argnums=2), 1)
    for a, b in zip(jax.jit(again)(x, kernel, dy), want, strict=True):
        close(a, b)
    each = [jnp.stack([a, 2 * a]) for a in (x, kernel, dy)]
    for a, b in zip(jax.jit(jax.vmap(again))(*each), want, strict=True):
        close(a[0], b)
        close(a[1], 4 * b)


@pytest.mark.nightly
def test_transformed_kernels_of_other_layers_are_not_kept():
    """Only one layer's is kept: 16/9 the size of its kernel, forward and again backward."""
    assert temporaries(layers=6) < 1.3 * temporaries(layers=2)


def temporaries(layers):
    """Temporary bytes for the gradients of a chain of layers."""
    kernels = [jax.ShapeDtypeStruct((3, 3, 128, 128), jnp.float32)] * layers
    x = jax.ShapeDtypeStruct((1, 8, 8, 128), jnp.float32)

    def last(kernels, x):
        for kernel in kernels:
            x = jnp.tanh(conv2d(x, kernel, 1))
        return x.sum()

    program = jax.jit(jax.grad(last)).lower(kernels, x).compile()
    return program.memory_analysis().temp_size_in_bytes
