"""Train, evaluation and forward step of the plain networks, in ordinary Optax code."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

from jaxseg.benchmark.plain.deconvnet import PlainDeconvNet
from jaxseg.benchmark.plain.fcn8s import PlainFCN8s
from jaxseg.benchmark.plain.pspnet import PlainPSPNet50
from jaxseg.distributed.mesh import replicated, split_batch
from jaxseg.errors import InputError

_NETWORKS: dict[str, type] = {
    "fcn8s_vgg16": PlainFCN8s,
    "deconvnet_vgg16": PlainDeconvNet,
    "pspnet_resnet50": PlainPSPNet50,
}
_MEAN, _STD, _IGNORE = (123.7, 116.8, 103.9), 58.0, 255


def plain_network(config: ml_collections.ConfigDict, num_classes: int) -> nn.Module:
    """Creates the plain network of a run's `config.model`: name, width and dtype.

    Raises:
      InputError: that network has no plain form.
    """
    if config.name not in _NETWORKS:
        raise InputError(
            f"{config.name} has no plain form to compare with.",
            f"Choose one of {', '.join(_NETWORKS)}.",
        )
    return _NETWORKS[config.name](num_classes, config.width, jnp.dtype(config.dtype))


def plain_step(model: nn.Module, what: str, mesh: Mesh, images: Any, labels: Any):
    """Returns a jitted step of a plain network, and the shapes of its arguments.

    Args:
      model: from `plain_network`.
      what: "train", "eval" or "forward".
      mesh: mesh of the devices; the batch is sharded, and parameters are replicated.
      images: shape of the uint8 images.
      labels: shape of the uint8 labels.
    """
    tx = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.01, momentum=0.9))

    def create():
        variables = model.init(jax.random.key(0), jnp.zeros((1, *images.shape[1:])), False)
        params = variables["params"]
        return params, variables.get("batch_stats", {}), tx.init(params), jnp.int32(0)

    def train(state, images, labels):
        params, stats, opt_state, step = state

        def objective(params):
            heads, changed = model.apply(
                {"params": params, "batch_stats": stats},
                _normalized(images),
                True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.fold_in(jax.random.key(0), step)},
            )
            counted = labels != _IGNORE
            target = jnp.where(counted, labels, 0).astype(jnp.int32)
            loss = jnp.float32(0)
            for logits, weight in heads:
                each = optax.softmax_cross_entropy_with_integer_labels(logits, target)
                loss += weight * jnp.where(counted, each, 0).sum() / counted.sum()
            return loss, changed.get("batch_stats", {})

        (loss, stats), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = tx.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), stats, opt_state, step + 1), loss

    def logits_of(state, images):
        variables = {"params": state[0], "batch_stats": state[1]}
        return model.apply(variables, _normalized(images), False)[0][0]

    def evaluate(state, images, labels):
        classes = model.num_classes
        predicted = logits_of(state, images).argmax(-1)
        cell = jnp.where(labels < classes, labels * classes + predicted, classes**2)
        return jnp.bincount(cell.ravel(), length=classes**2 + 1)

    whole, split, like = replicated(mesh), split_batch(mesh), jax.eval_shape(create)
    if what == "train":
        places = {"in_shardings": (whole, split, split), "out_shardings": whole}
        return jax.jit(train, donate_argnums=0, **places), (like, images, labels)
    if what == "eval":
        places = {"in_shardings": (whole, split, split), "out_shardings": whole}
        return jax.jit(evaluate, **places), (like, images, labels)
    places = {"in_shardings": (whole, split), "out_shardings": split}
    return jax.jit(logits_of, **places), (like, images)


def _normalized(images: jax.Array) -> jax.Array:
    return (images.astype(jnp.float32) - jnp.array(_MEAN)) / _STD
