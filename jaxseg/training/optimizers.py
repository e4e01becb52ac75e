"""Optimizers and learning-rate schedules, based on Optax."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxseg.errors import InputError


def make_schedule(config: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    """The learning rate as a function of the step; the first step is 0.

    "step" multiplies the rate by `factor` at each of `boundaries`. With the boundary 9000, the
    9,000 steps 0..8999 have the rate before it, as in Caffe's `step` and `multistep` policies.

    Args:
      config: a run's `config.optim`.
      steps: total optimizer steps of the run.

    >>> from jaxseg.config import default_config
    >>> c = default_config().optim
    >>> c.schedule, c.warmup_steps = "poly", 2
    >>> schedule = make_schedule(c, steps=10)
    >>> [round(float(schedule(i)), 4) for i in (0, 1, 2, 9)]
    [0.005, 0.0091, 0.0082, 0.0013]
    """
    warmup = min(config.warmup_steps, steps)
    base = {
        "constant": lambda: optax.constant_schedule(config.lr),
        "poly": lambda: optax.polynomial_schedule(config.lr, 0.0, config.power, steps),
        "cosine": lambda: optax.cosine_decay_schedule(config.lr, steps),
        "step": lambda: _steps(config.lr, config.factor, config.boundaries),
    }[config.schedule]()

    def schedule(step):
        ramp = jnp.minimum((step + 1) / warmup, 1.0) if warmup else 1.0
        return base(step) * ramp

    return schedule


def _steps(lr: float, factor: float, boundaries: tuple[int, ...]) -> optax.Schedule:
    rates = jnp.array([lr * factor**i for i in range(len(boundaries) + 1)], jnp.float32)
    return lambda step: rates[jnp.searchsorted(jnp.array(boundaries), step, side="right")]


def make_optimizer(
    config: ml_collections.ConfigDict, steps: int, schedule: optax.Schedule | None = None
) -> optax.GradientTransformation:
    """The optimizer of a run.

    "sgd" has two forms, which differ only while the learning rate changes. In `momentum_form`
    "caffe", the rate is applied before the momentum, so that a change takes effect over some steps:

        v = momentum * v + lr * (gradient + decay * w);  w = w - v

    In "pytorch", it is applied after the momentum, so that it also scales earlier gradients:

        v = momentum * v + gradient + decay * w;  w = w - lr * v

    "adamw" decouples the decay. The gradient is clipped before the decay is added. The multipliers
    of a rule scale lr and decay. Parameters that are `frozen` have neither momentum nor decay, do
    not count in the norm for clipping, and stay bitwise equal.

    Args:
      config: a run's `config.optim`.
      steps: total optimizer steps of the run.
      schedule: the learning rate; None: `make_schedule(config, steps)`.
    """
    rules = _compiled(config.rules)
    parts = []
    if config.clip_norm is not None:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.name == "adamw":
        parts.append(optax.scale_by_adam())
    if config.weight_decay:
        parts.append(_add_decay(config.weight_decay, rules))
    if rules:
        parts.append(_scale_by_rules(rules))
    rate = optax.scale_by_learning_rate(schedule or make_schedule(config, steps))
    momentum = [optax.trace(config.momentum)] if config.name == "sgd" and config.momentum else []
    parts += [rate, *momentum] if config.momentum_form == "caffe" else [*momentum, rate]
    moving = optax.chain(*parts)
    is_frozen = frozen(config)
    if is_frozen is None:
        return moving

    def kinds(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "frozen" if is_frozen(parameter_name(path)) else "moving", params
        )

    return optax.partition({"moving": moving, "frozen": _stay()}, kinds)


def frozen(config: ml_collections.ConfigDict) -> Callable[[str], bool] | None:
    """Returns a function that tells whether a parameter name is frozen; None if none are.

    A parameter is frozen if a pattern of `freeze` matches in its name, or if its rule multiplies
    its learning rate by 0.

    Args:
      config: a run's `config.optim`.

    >>> from jaxseg.config import default_config
    >>> c = default_config().optim
    >>> c.freeze = ("conv[12]_",)
    >>> frozen(c)("params/conv2_1/kernel"), frozen(c)("params/conv3_1/kernel")
    (True, False)
    """
    patterns, rules = [re.compile(pattern) for pattern in config.freeze], _compiled(config.rules)
    if not patterns and all(lr for _, lr, _ in rules):
        return None
    return lambda name: (
        any(pattern.search(name) for pattern in patterns) or multipliers(rules, name)[0] == 0
    )


def check_patterns(config: ml_collections.ConfigDict, params: Any) -> None:
    """Checks the patterns of a config against the parameter names.

    Args:
      config: a run's `config.optim`.
      params: the network's parameters, or their shapes.

    Raises:
      InputError: a pattern of `freeze` or `rules` matches no parameter, or all are frozen.
    """
    names = [parameter_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for field, patterns in {
        "freeze": config.freeze,
        "rules": [pattern for pattern, _, _ in config.rules],
    }.items():
        for pattern in patterns:
            if not any(re.search(pattern, name) for name in names):
                raise InputError(
                    f"Config field optim.{field} has the pattern {pattern!r}, which matches no "
                    "parameter.",
                    f"Parameter names look like {names[0]} and {names[-1]}; correct or remove the "
                    "pattern.",
                )
    is_frozen = frozen(config)
    if is_frozen is not None and all(map(is_frozen, names)):
        raise InputError(
            "Config fields optim.freeze and optim.rules freeze every parameter.",
            "Leave some parameters trainable, or evaluate the network as it is.",
        )


def parameter_name(path) -> str:
    """The name of the parameter at a pytree `path`, as patterns see it."""
    return "params/" + "/".join(key.key for key in path)


def multipliers(rules, name: str) -> tuple[float, float]:
    """The multipliers of learning rate and decay for a parameter name."""
    return next(((lr, decay) for pattern, lr, decay in rules if pattern.search(name)), (1.0, 1.0))


def _compiled(rules):
    return [(re.compile(pattern), lr, decay) for pattern, lr, decay in rules]


def _stay() -> optax.GradientTransformation:
    """Updates of -0.0, which leave any number unchanged when added; 0.0 would change -0.0."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda g: jnp.full_like(g, -0.0), updates)
    )


def _add_decay(weight_decay, rules):
    def update(updates, params):
        return jax.tree_util.tree_map_with_path(
            lambda path, g, w: g + weight_decay * multipliers(rules, parameter_name(path))[1] * w,
            updates,
            params,
        )

    return optax.stateless(update)


def _scale_by_rules(rules):
    def update(updates, params):
        return jax.tree_util.tree_map_with_path(
            lambda path, g: g * multipliers(rules, parameter_name(path))[0], updates
        )

    return optax.stateless(update)
