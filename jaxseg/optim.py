"""Optimisers and learning-rate schedules, by Optax."""

import re

import jax
import jax.numpy as jnp
import ml_collections
import optax


def make_schedule(config: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    """The learning rate as a function of the step, 0 for the first.

    "step" multiplies it by `factor` from each of `boundaries` on: with the boundary 9000, the
    9,000 steps 0..8999 have the rate before, as in Caffe's `step` and `multistep` policies.

    Args:
      config: a run's `config.optim`.
      steps: optimiser steps of the whole run.

    >>> from jaxseg.config import default_config
    >>> c = default_config().optim
    >>> c.schedule, c.warmup_steps = "poly", 2
    >>> schedule = make_schedule(c, steps=10)
    >>> [round(float(schedule(i)), 4) for i in (0, 1, 2, 9)]
    [0.005, 0.0091, 0.0082, 0.0013]
    """
    warmup = min(config.warmup_steps, steps)
    after = {
        "constant": lambda: optax.constant_schedule(config.lr),
        "poly": lambda: optax.polynomial_schedule(config.lr, 0.0, config.power, steps),
        "cosine": lambda: optax.cosine_decay_schedule(config.lr, steps),
        "step": lambda: _steps(config.lr, config.factor, config.boundaries),
    }[config.schedule]()

    def schedule(step):
        ramp = jnp.minimum((step + 1) / warmup, 1.0) if warmup else 1.0
        return after(step) * ramp

    return schedule


def _steps(lr: float, factor: float, boundaries: tuple[int, ...]) -> optax.Schedule:
    rates = jnp.array([lr * factor**i for i in range(len(boundaries) + 1)], jnp.float32)
    return lambda step: rates[jnp.searchsorted(jnp.array(boundaries), step, side="right")]


def make_optimizer(config: ml_collections.ConfigDict, steps: int) -> optax.GradientTransformation:
    """The optimiser of a run.

    "sgd" has two forms, which differ while the learning rate changes and are equal while it does
    not. `momentum_form` "caffe", where the rate enters before the momentum, so that a change of it
    takes some steps to arrive:

        v = momentum * v + lr * (gradient + decay * w);  w = w - v

    and "pytorch", where it enters after, so that it scales the steps collected so far as well:

        v = momentum * v + gradient + decay * w;  w = w - lr * v

    "adamw" decouples the decay. The gradient is clipped before the decay is added; a rule's
    multiplier goes with lr and with decay.

    Args:
      config: a run's `config.optim`.
      steps: optimiser steps of the whole run.
    """
    rules = [(re.compile(pattern), lr, decay) for pattern, lr, decay in config.rules]
    parts = []
    if config.clip_norm is not None:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.name == "adamw":
        parts.append(optax.scale_by_adam())
    if config.weight_decay:
        parts.append(_add_decay(config.weight_decay, rules))
    if rules:
        parts.append(_scale_by_rules(rules))
    rate = optax.scale_by_learning_rate(make_schedule(config, steps))
    momentum = [optax.trace(config.momentum)] if config.name == "sgd" and config.momentum else []
    parts += [rate, *momentum] if config.momentum_form == "caffe" else [*momentum, rate]
    return optax.chain(*parts)


def multipliers(rules, path) -> tuple[float, float]:
    """(learning rate, decay) multipliers of the parameter at a pytree `path`."""
    name = "params/" + "/".join(key.key for key in path)
    return next(((lr, decay) for pattern, lr, decay in rules if pattern.search(name)), (1.0, 1.0))


def _add_decay(weight_decay, rules):
    def update(updates, params):
        return jax.tree_util.tree_map_with_path(
            lambda path, g, w: g + weight_decay * multipliers(rules, path)[1] * w, updates, params
        )

    return optax.stateless(update)


def _scale_by_rules(rules):
    def update(updates, params):
        return jax.tree_util.tree_map_with_path(
            lambda path, g: g * multipliers(rules, path)[0], updates
        )

    return optax.stateless(update)
