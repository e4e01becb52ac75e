"""The single place that chooses an op's form: by the context, or by the program's platform."""

import ast
import functools
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseg
from jaxseg.errors import InputError
from jaxseg.ops import implementation
from jaxseg.ops.dispatch import dispatch, for_devices


def form(x):
    return dispatch("max_pool", x, reference=lambda x: x + 1, cpu=lambda x: x + 2)


def for_each(x, across_devices=()):
    forms = {"cpu": lambda x: x + 2, "gpu": lambda x: x + 3, "tpu": lambda x: x + 4}
    reference = lambda x: x + 1  # noqa: E731
    return dispatch("max_pool", x, reference=reference, across_devices=across_devices, **forms)


def constants(function, platform):
    text = jax.jit(function).trace(jnp.zeros(())).lower(lowering_platforms=(platform,)).as_text()
    return [n for n in (1, 2, 3, 4) if f"dense<{n}.0" in text]


def test_auto_follows_the_platform_that_a_program_is_lowered_for():
    for platform, own in (("cpu", 2), ("cuda", 3), ("rocm", 3), ("tpu", 4)):
        assert constants(for_each, platform) == [own]
    assert [constants(form, p) for p in ("cpu", "tpu", "cuda")] == [[2], [1], [1]]


def test_the_context_forces_the_form_of_a_platform():
    for name, result in (("reference", 1), ("cpu", 2), ("gpu", 3), ("tpu", 4)):
        with implementation(name):
            assert jax.jit(for_each)(0.0) == result
    with implementation("gpu"):
        assert form(0.0) == 1  # this op has no GPU form


def on(platform, count):
    return [types.SimpleNamespace(platform=platform)] * count


def test_for_known_devices_only_their_form_is_traced():
    for platform, own in (("cpu", 2), ("gpu", 3), ("cuda", 3), ("rocm", 3), ("tpu", 4)):
        program = jax.make_jaxpr(for_devices(for_each, on(platform, 1)))(0.0)
        assert [e.primitive.name for e in program.eqns] == ["add"]
        assert for_devices(for_each, on(platform, 1))(0.0) == own
        with implementation("reference"):
            assert for_devices(for_each, on(platform, 1))(0.0) == 1
    assert for_devices(form, on("tpu", 1))(0.0) == 1  # this op has no TPU form
    assert constants(for_devices(for_each, on("another", 1)), "cuda") == [3]


def test_several_devices_use_only_forms_marked_for_them():
    some = functools.partial(for_each, across_devices=("tpu",))
    for platform, own in (("cpu", 1), ("gpu", 1), ("tpu", 4)):
        assert for_devices(for_each, on(platform, 8))(0.0) == 1
        assert for_devices(some, on(platform, 8))(0.0) == own
    with implementation("gpu"):
        assert for_devices(for_each, on("gpu", 8))(0.0) == 3


def test_the_context_also_affects_functions_that_are_already_jitted():
    jitted = jax.jit(form)
    assert jitted(0.0) == 2
    with implementation("reference"):
        assert jitted(0.0) == 1
        with implementation("cpu"):
            assert jitted(0.0) == 2
        assert jitted(0.0) == 1
    assert jitted(0.0) == 2


def test_the_context_ends_with_an_error_too():
    with pytest.raises(ZeroDivisionError), implementation("reference"):
        1 / 0  # noqa: B018
    assert jax.jit(form)(0.0) == 2


def test_a_single_op_has_a_form_of_its_own():
    with implementation("reference", max_pool="cpu"):
        assert form(0.0) == 2
    with implementation("cpu", max_pool="reference"):
        assert form(0.0) == 1
    with implementation("reference", conv2d="cpu"):
        assert form(0.0) == 1
    with pytest.raises(InputError, match="no op 'max_pol'"), implementation("auto", max_pol="cpu"):
        pass


def test_another_name():
    with pytest.raises(InputError, match="no implementation 'cuda'"), implementation("cuda"):
        pass


def test_several_cpus_share_the_reference_form():
    assert for_devices(form, on("cpu", 1))(0.0) == 2
    assert for_devices(form, on("cpu", 8))(0.0) == 1
    with implementation("cpu"):
        assert for_devices(form, on("cpu", 8))(0.0) == 1
    for function in (form, functools.partial(form)):
        run = jax.jit(for_devices(function, on("cpu", 8)))
        assert "jit(form)" in run.lower(0.0).as_text(debug_info=True)


def test_platforms_are_asked_for_in_one_place():
    """Covers `platform_dependent`, `default_backend` and `device_count`, however imported."""
    root = pathlib.Path(jaxseg.__file__).parent
    asked = {"platform_dependent", "default_backend", "device_count", "local_device_count"}
    found = set()
    for path in root.rglob("*.py"):
        place = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            jaxs = isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("jax", "lax")
            imported = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jax.")
            names = {node.attr} if jaxs else set()
            names |= {alias.name for alias in node.names} if imported else set()
            if names & asked:
                found.add(place)
    assert {p for p in found if not p.startswith("distributed/")} == {"ops/dispatch.py"}


@pytest.mark.parametrize("name", ["jaxseg/models", "jaxseg/nn", "jaxseg/export", "jaxseg/losses"])
def test_no_form_of_cpus_is_imported_but_by_ops(name, repository):
    for path in (repository / name).rglob("*.py"):
        assert "ops.cpu" not in path.read_text(encoding="utf-8"), path


def test_forms_are_equal_on_random_numbers():
    from jaxseg.ops import max_pool

    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 7, 3)), jnp.float32)
    results = []
    for name in ("auto", "reference", "cpu"):
        with implementation(name):
            results.append(np.asarray(jax.jit(lambda x: max_pool(x, 3, 2, 1))(x)))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
