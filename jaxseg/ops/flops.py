"""Floating point operations of a function, counted in the program that jax makes of it."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from jaxseg.ops.dispatch import implementation

_LOOPS = ("scan", "while")  # what leaves one turn of them enters the next


def count_flops(function: Callable, *args: Any) -> int:
    """Multiplications and additions in the products of matrices and in the convolutions.

    That is what a device's peak is about, and what papers count; everything else of a network
    (norms, activations, pooling) is 1 % or so. A window that hangs over the edge counts with what
    lies inside, a loop as often as it runs (XLA's own `cost_analysis` counts one turn of it). The
    reference forms of the ops count: the number belongs to the network, not to the machine. What a
    step computes twice (`remat`) counts twice.

    Args:
      function: of arrays, such as a train step.
      *args: pytrees of arrays or of `jax.ShapeDtypeStruct`s; nothing is computed.

    Returns:
      The number, an exact one. A `while` whose number of turns is not known counts once.

    >>> import jax.numpy as jnp
    >>> count_flops(jnp.dot, jnp.ones([2, 3]), jnp.ones([3, 5])), 2 * 2 * 3 * 5
    (60, 60)
    """
    with implementation("reference"):
        return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr, wanted: Sequence[bool] | None = None) -> int:
    """From the wanted results back to the arguments: what none of them needs is not computed."""
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
    """The programs in a parameter of an equation: of a loop its body, of a call what is called."""
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
    """Along one axis, how many pairs of output cell and kernel place meet a cell of the input.

    `spread` - 1 zeros stand between cells of the input, `dilation` - 1 between the kernel's places.
    """
    meet = 0
    for place in range(kernel):
        first = place * dilation - padding[0]
        for cell in range(out):
            at = first + cell * stride
            meet += at >= 0 and at % spread == 0 and at // spread < size
    return meet
