"""Counts the floating point operations of a function in the program that jax traces."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from jaxseg.ops.dispatch import implementation

_LOOPS = ("scan", "while")  # the outputs of one iteration are the inputs of the next


def count_flops(function: Callable, *args: Any) -> int:
    """Counts the multiplications and additions in matrix products and convolutions.

    The peak of a device refers to these operations, and papers count them. All other operations of
    a network (norms, activations, pooling) are about 1 %. A window that extends beyond the edge
    counts only its part inside. A loop counts once per iteration (XLA's own `cost_analysis` counts
    one iteration). The reference forms of the ops are counted: the number belongs to the network,
    not to the machine. Recomputed operations (`remat`) count twice.

    Args:
      function: a function of arrays, such as a train step.
      *args: pytrees of arrays or of `jax.ShapeDtypeStruct`s; nothing is computed.

    Returns:
      The exact number. A `while` with an unknown number of iterations counts once.

    >>> import jax.numpy as jnp
    >>> count_flops(jnp.dot, jnp.ones([2, 3]), jnp.ones([3, 5])), 2 * 2 * 3 * 5
    (60, 60)
    """
    with implementation("reference"):
        return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr, wanted: Sequence[bool] | None = None) -> int:
    """Walks from the wanted results back to the arguments; skips unused equations."""
    wanted = [True] * len(jaxpr.outvars) if wanted is None else wanted
    needed = {id(v) for v, is_wanted in zip(jaxpr.outvars, wanted, strict=True) if is_wanted}
    total = 0
    for equation in reversed(jaxpr.eqns):
        results = [id(v) in needed for v in equation.outvars]
        if equation.effects or any(results):
            needed.update(id(v) for v in equation.invars)
            total += _count_equation(equation, results)
    return total


def _count_equation(equation, wanted: Sequence[bool]) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inside = [
        _count(inner, wanted if len(inner.outvars) == len(wanted) and name not in _LOOPS else None)
        for value in params.values()
        for inner in _programs(value)
    ]
    if name == "cond":
        return max(inside)
    return sum(inside) * (params["length"] if name == "scan" else 1)


def _programs(value: Any) -> Iterator[Any]:
    """The programs in an equation's parameter: the body of a loop, or the function of a call."""
    for item in value if isinstance(value, tuple | list) else (value,):
        item = getattr(item, "jaxpr", item)
        if hasattr(item, "eqns"):
            yield item


def _dot(equation) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[i] for i in contracted)


def _convolution(equation) -> int:
    params = equation.params
    left, right, out = (v.aval.shape for v in (*equation.invars, *equation.outvars))
    numbers = params["dimension_numbers"]
    places = 1
    for i in range(len(params["window_strides"])):
        places *= _pairs(
            left[numbers.lhs_spec[2 + i]],
            right[numbers.rhs_spec[2 + i]],
            out[numbers.out_spec[2 + i]],
            params["window_strides"][i],
            params["padding"][i],
            params["lhs_dilation"][i],
            params["rhs_dilation"][i],
        )
    images, outputs = out[numbers.out_spec[0]], out[numbers.out_spec[1]]
    return 2 * images * outputs * right[numbers.rhs_spec[1]] * places


def _pairs(
    size: int,
    kernel: int,
    out: int,
    stride: int,
    padding: Sequence[int],
    spread: int,
    dilation: int,
) -> int:
    """The number of pairs of output cell and kernel position that read an input cell, on one axis.

    `spread` - 1 zeros separate the input's cells, `dilation` - 1 zeros the kernel's positions.
    """
    meet = 0
    for place in range(kernel):
        first = place * dilation - padding[0]
        for cell in range(out):
            at = first + cell * stride
            meet += at >= 0 and at % spread == 0 and at // spread < size
    return meet
