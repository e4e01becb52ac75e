"""Which form of an op runs: the one place where a platform is asked for.

An op has a reference form in plain `jax.lax`, which is its definition and what GPU and TPU run. It
may have a CPU form besides, in `jaxseg.ops.cpu` or beside it: the same sums in an order that XLA's
CPU backend is fast at.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax import lax

from jaxseg.errors import InputError, nearest

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
    if cpu is None or form == "reference":
        return reference(*arrays)
    if form == "cpu":
        return cpu(*arrays)
    return lax.platform_dependent(*arrays, cpu=cpu, default=reference)


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
