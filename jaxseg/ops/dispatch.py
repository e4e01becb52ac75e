"""Selects the form of an op: the only place that depends on the platform.

An op has a reference form in plain `jax.lax`, which is its definition. Those in `OPS` also have a
form for a platform, in `jaxseg.ops.cpu`, `gpu` or `tpu`, or in their own file: the same sums in an
order that XLA compiles to a better program for that platform. Each form states the compiler's
figure that justifies it. A form for every platform, such as that of `pyramid_conv`, is not selected
here.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import jax
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from jaxseg.errors import InputError, nearest

Function = TypeVar("Function", bound=Callable[..., Any])
PLATFORMS = ("cpu", "gpu", "tpu")
IMPLEMENTATIONS = ("auto", "reference", *PLATFORMS)
OPS = (  # the ops that have a platform form
    "add_bias",
    "batch_norm",
    "confusion",
    "conv2d",
    "deconv2d",
    "max_pool",
    "max_unpool",
    "remat",
    "shared",
    "square_sum",
    "strips",
    "warp",
)

_LOWERED = {"cpu": "cpu", "cuda": "gpu", "rocm": "gpu", "tpu": "tpu"}  # JAX's names to our names


class _Choice(NamedTuple):
    form: str = "auto"  # one of IMPLEMENTATIONS
    ops: tuple[tuple[str, str], ...] = ()  # forms of single ops
    platform: str | None = None  # the platform that "auto" will be lowered for, if known
    several: bool = False  # whether several devices run the program together


_chosen = jax.make_user_context(default_value=_Choice())  # part of the key of jit's cache


@contextlib.contextmanager
def implementation(name: str, **ops: str) -> Iterator[None]:
    """Selects the form of every op that is traced inside the context.

    A function that was jitted outside the context is traced again inside, and vice versa.

    Args:
      name: "auto" follows the platform that a program is lowered for, regardless of the machine
        that lowers it. "reference" selects the reference forms; they support `jvp`, `vjp`, `vmap`
        and derivatives of any order. "cpu", "gpu" and "tpu" select the forms for that platform, and
        the reference form of an op without one; the CPU forms have no forward-mode derivatives.
        Every form runs on every platform, so it can be tested. A program for several devices uses
        "auto" in place of "cpu" (see `for_devices`).
      **ops: the forms of single ops, such as `max_pool="cpu"`.

    Raises:
      InputError: an unknown name, or an op that has no platform form.

    >>> import jax.numpy as jnp
    >>> from jaxseg.ops import max_pool
    >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    >>> with implementation("reference"):
    ...     program = jax.make_jaxpr(lambda x: max_pool(x, 2, 2))(x)
    >>> [equation.primitive.name for equation in program.eqns]
    ['reduce_window_max']
    """
    for op in ops:
        if op not in OPS:
            raise InputError(f"There is no op {op!r} with a platform form.", nearest(op, OPS))
    for form in (name, *ops.values()):
        if form not in IMPLEMENTATIONS:
            raise InputError(
                f"There is no implementation {form!r}.",
                f"Choose one of {', '.join(map(repr, IMPLEMENTATIONS))}.",
            )
    with _chosen(_chosen.value._replace(form=name, ops=tuple(sorted(ops.items())))):
        yield


def dispatch(
    op: str,
    *arrays: Any,
    reference: Callable[..., Any],
    cpu: Callable[..., Any] | None = None,
    gpu: Callable[..., Any] | None = None,
    tpu: Callable[..., Any] | None = None,
    across_devices: Sequence[str] = (),
) -> Any:
    """Applies the selected form to `arrays`.

    Args:
      op: name of the op, one of `OPS`.
      *arrays: arguments of all forms.
      reference: the definition.
      cpu, gpu, tpu: forms for these platforms; None: the definition.
      across_devices: the platforms whose forms several devices can run together.
    """
    choice = _chosen.value
    form = dict(choice.ops).get(op, choice.form)
    if form == "auto" and explicit_axes():  # devices share the arrays; see `for_devices`
        form = "reference"
    forms = {"cpu": cpu, "gpu": gpu, "tpu": tpu}
    if form == "auto" and choice.several:
        forms = {platform: forms[platform] for platform in across_devices}
    if form == "auto" and choice.platform:
        form = choice.platform
    if form == "auto":
        given = {name: forms.get(ours) for name, ours in _LOWERED.items()}
        lowered = {name: _one(function) for name, function in given.items() if function}
        if lowered:
            return lax.platform_dependent(*arrays, **lowered, default=_one(reference))
    return (forms.get(form) or reference)(*arrays)


def _one(function: Callable) -> Callable:
    """The same object for equal partial functions: JAX finds its cached traces by identity."""
    if not isinstance(function, functools.partial):
        return function
    return _partial(function.func, function.args, tuple(function.keywords.items()))


@functools.lru_cache(1024)
def _partial(function, arguments, options):
    return functools.partial(function, *arguments, **dict(options))


def explicit_axes() -> tuple[str, ...]:
    """The Explicit axes of the mesh of `jax.set_mesh` during tracing."""
    return tuple(jax.sharding.get_abstract_mesh().explicit_axes)


def on_any_mesh(*outputs: str) -> Callable[[Function], Function]:
    """Makes a function of batches work on meshes with Explicit axes, by letting XLA partition it.

    Args:
      *outputs: for each output, "batch" if its axis 0 is the batch axis of the first array and is
        sharded like it, otherwise "whole"; a single value applies to all outputs.

    >>> import jax.numpy as jnp
    >>> @on_any_mesh("whole")
    ... def total(x, axis=None):
    ...     return jnp.sum(x, axis)
    >>> total(jnp.ones(3)).tolist()
    3.0
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def run(*arguments, **options):
            axes = explicit_axes()
            if not axes:
                return function(*arguments, **options)
            leaves, tree = jax.tree.flatten((arguments, options))
            arrays = [a for a in leaves if isinstance(a, jax.Array | np.ndarray)]
            sharing = [jax.typeof(a).sharding.spec for a in arrays if a.ndim]
            batch = next((spec[0] for spec in sharing if len(spec) and spec[0] is not None), None)
            places = tuple(
                PartitionSpec(batch) if output == "batch" else PartitionSpec() for output in outputs
            )

            def inside(*given):
                rest = iter(given)
                filled = [
                    next(rest) if isinstance(a, jax.Array | np.ndarray) else a for a in leaves
                ]
                inner, named = jax.tree.unflatten(tree, filled)
                return function(*inner, **named)

            out = places[0] if len(places) == 1 else places
            return jax.sharding.auto_axes(inside, axes=axes, out_sharding=out)(*arrays)

        return cast(Function, run)

    return decorate


def for_devices(function: Callable, devices: Sequence[jax.Device]) -> Callable:
    """`function` for these devices, which run it together if there are several.

    "auto" then uses only the forms for their platform, which takes a third of the time to trace. If
    there are several devices, it uses only the forms marked `across_devices`, which XLA partitions
    among them. A CPU form loops over the images of a batch, so that every device would fetch the
    whole batch.
    """
    known = (_LOWERED | {"gpu": "gpu"}).get(devices[0].platform)
    several = len(devices) > 1
    named = function.func if isinstance(function, functools.partial) else function

    @functools.wraps(named)  # its name appears in programs and profiles
    def run(*arguments, **options):
        choice = _chosen.value._replace(platform=known, several=several)
        if several and choice.form == "cpu":
            choice = choice._replace(form="auto")
        with _chosen(choice):
            return function(*arguments, **options)

    return run
