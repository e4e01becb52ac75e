"""Which form of an op runs: the one place where a platform is asked for.

An op has a reference form in plain `jax.lax`, which is its definition. It may have a form for a
platform besides, in `jaxseg.ops.cpu`, `gpu` or `tpu`, or beside it: the same sums in an order that
XLA's compiler for that platform makes a better program of. Each says which figure of the compiler's
it is there for.
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
OPS = (  # those that have a form for a platform
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
)

_LOWERED = {"cpu": "cpu", "cuda": "gpu", "rocm": "gpu", "tpu": "tpu"}  # JAX's names to ours


class _Choice(NamedTuple):
    form: str = "auto"  # one of IMPLEMENTATIONS
    ops: tuple[tuple[str, str], ...] = ()  # the forms of single ops
    platform: str | None = None  # which "auto" will be lowered for, where that is known
    shared: bool = False  # whether several devices run it together


_chosen = jax.make_user_context(default_value=_Choice())  # a part of the key of jit's cache


@contextlib.contextmanager
def implementation(name: str, **ops: str) -> Iterator[None]:
    """Forces the form of every op that is traced inside the context.

    A function that was jitted outside the context is traced again inside, and vice versa.

    Args:
      name: "auto" follows the platform that a program is lowered for, regardless of the machine
        that lowers it. "reference" selects the reference forms; they support `jvp`, `vjp`, `vmap`
        and derivatives of any order. "cpu", "gpu" and "tpu" select the forms for that platform, and
        the reference form of an op without one; the CPU forms have no forward-mode derivatives.
        Every form runs on every platform, so it can be tested.
      **ops: the forms of single ops, such as `max_pool="cpu"`.

    Raises:
      InputError: another name, or an op that has no form for a platform.

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
    """Applies the form that is in force to `arrays`.

    Args:
      op: its name, one of `OPS`.
      *arrays: what all forms take.
      reference: the definition.
      cpu, gpu, tpu: the forms for these platforms; None where that is the definition, too.
      across_devices: those of them that several devices can run together.
    """
    choice = _chosen.value
    form = dict(choice.ops).get(op, choice.form)
    if form == "auto" and explicit_axes():  # devices share the arrays: see `for_devices`
        form = "reference"
    forms = {"cpu": cpu, "gpu": gpu, "tpu": tpu}
    if form == "auto" and choice.shared:
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
    """The same object for equal partial functions, by which JAX finds what it traced of one."""
    if not isinstance(function, functools.partial):
        return function
    return _partial(function.func, function.args, tuple(function.keywords.items()))


@functools.lru_cache(1024)
def _partial(function, arguments, options):
    return functools.partial(function, *arguments, **dict(options))


def explicit_axes() -> tuple[str, ...]:
    """The axes of the mesh of `jax.set_mesh` that are Explicit, where arrays are traced."""
    return tuple(jax.sharding.get_abstract_mesh().explicit_axes)


def on_any_mesh(*outputs: str) -> Callable[[Function], Function]:
    """Makes a function of batches work where the mesh has Explicit axes: XLA divides its inside.

    Args:
      *outputs: of each of its outputs "batch", where axis 0 is that of the first array and is
        divided as it is, or "whole"; or one for all of them.

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
    """`function` as these devices run it, together where they are several.

    "auto" then takes the forms for their platform alone, which is a third of the time to trace a
    program; and of those, where devices are several, only the ones that are said to go
    `across_devices`. XLA divides these among the devices. A CPU form walks over the images of a
    batch in a loop, for which every device would fetch the whole batch.
    """
    known = (_LOWERED | {"gpu": "gpu"}).get(devices[0].platform)
    shared = len(devices) > 1
    named = function.func if isinstance(function, functools.partial) else function

    @functools.wraps(named)  # programs and profiles have its name
    def run(*arguments, **options):
        choice = _chosen.value._replace(platform=known, shared=shared)
        if shared and choice.form == "cpu":
            choice = choice._replace(form="auto")
        with _chosen(choice):
            return function(*arguments, **options)

    return run
