"""Which form of an op runs: the one place where a platform is asked for.

An op has a reference form in plain `jax.lax`, which is its definition and what GPU and TPU run. It
may have a CPU form besides, in `jaxseg.ops.cpu` or beside it: the same sums in an order that XLA's
CPU backend is fast at.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from jaxseg.errors import InputError, nearest

Function = TypeVar("Function", bound=Callable[..., Any])
IMPLEMENTATIONS = ("auto", "reference", "cpu")
OPS = (  # those that have a CPU form
    "add_bias",
    "batch_norm",
    "conv2d",
    "deconv2d",
    "max_pool",
    "max_unpool",
    "remat",
    "square_sum",
)

_Choice = tuple[str, tuple[tuple[str, str], ...]]  # for all ops, and for single ones
_AUTO: _Choice = ("auto", ())
_chosen = jax.make_user_context(default_value=_AUTO)  # a part of the key of jit's cache


@contextlib.contextmanager
def implementation(name: str, **ops: str) -> Iterator[None]:
    """Forces the form of every op that is traced inside the context.

    A function that was jitted outside is traced again inside, and the other way round.

    Args:
      name: "auto" follows the platform that a program is lowered for, whatever the machine that
        lowers it. "reference" takes the reference forms; they support `jvp`, `vjp`, `vmap` and
        derivatives of any order. "cpu" takes the CPU forms; they have no forward-mode derivatives.
      **ops: the form of single ops, such as `max_pool="cpu"`.

    Raises:
      InputError: another name, or an op that has no CPU form.

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
            raise InputError(f"There is no op {op!r} that has a CPU form.", nearest(op, OPS))
    for form in (name, *ops.values()):
        if form not in IMPLEMENTATIONS:
            raise InputError(
                f"There is no implementation {form!r}.",
                f"Choose one of {', '.join(map(repr, IMPLEMENTATIONS))}.",
            )
    with _chosen((name, tuple(sorted(ops.items())))):
        yield


def dispatch(
    op: str, *arrays: Any, reference: Callable[..., Any], cpu: Callable[..., Any] | None
) -> Any:
    """Applies the form that is in force to `arrays`.

    Args:
      op: its name, one of `OPS`.
      *arrays: what both forms take.
      reference: the definition.
      cpu: the form for CPUs; None where that is the definition, too.
    """
    name, ops = _chosen.value
    form = dict(ops).get(op, name)
    if form == "auto" and explicit_axes():  # devices share the arrays: see `shared_out`
        form = "reference"
    if cpu is None or form == "reference":
        return reference(*arrays)
    if form == "cpu":
        return cpu(*arrays)
    return lax.platform_dependent(*arrays, cpu=cpu, default=reference)


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


def shared_out(function: Callable, devices: int) -> Callable:
    """`function` as several devices run it together: by the reference forms.

    XLA divides those among the devices. A CPU form walks over the images of a batch in a loop, for
    which every device would fetch the whole batch.
    """
    if devices == 1:
        return function

    named = function.func if isinstance(function, functools.partial) else function

    @functools.wraps(named)  # programs and profiles have its name
    def run(*arguments, **options):
        with implementation("reference"):
            return function(*arguments, **options)

    return run
