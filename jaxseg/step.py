"""The state of a run and the one jitted step that advances it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxseg.losses import cross_entropy
from jaxseg.models import normalize


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: int32 scalar, steps taken.
      params: float32 parameters.
      batch_stats: running statistics of batch norm ({} without).
      opt_state: the optimiser's.
      first_bad_step: int32 scalar, the first step whose loss, gradient or update was not finite;
        -1 for none.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    first_bad_step: jax.Array

    @property
    def variables(self) -> dict:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    seed: int,
    image_size: tuple[int, int],
) -> TrainState:
    """A state at step 0.

    Args:
      model: the network.
      optimizer: the optimiser.
      seed: of the initial parameters.
      image_size: (height, width) of an image the network can take; parameters do not depend on it.
    """
    images = jnp.zeros((1, *image_size, 3), jnp.float32)
    return state_at_start(model.init(jax.random.key(seed), images), optimizer)


def state_at_start(variables: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """A state at step 0 with these variables."""
    return TrainState(
        step=jnp.int32(0),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
        first_bad_step=jnp.int32(-1),
    )


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: ml_collections.ConfigDict,
    seed: int,
    ignore_label: int = 255,
) -> Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
    """A pure function (state, images, labels) -> (state, metrics), to be jitted.

    Images are uint8 [N, H, W, 3] RGB and labels uint8 [N, H, W]. Dropout depends on the seed and
    the step alone. Over a mesh, with the batch split and the state replicated, batch norm and loss
    are those of the whole batch.
    """

    def objective(params, state, images, labels, dropout_key):
        heads, changed = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            method="heads",
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        losses = [
            h.weight
            * cross_entropy(
                h.logits,
                labels,
                h.upsampling,
                ignore_label=ignore_label,
                class_weights=loss.class_weights,
                reduction=loss.reduction,
            )
            for h in heads
        ]
        return sum(losses), changed.get("batch_stats", {})

    def train_step(state, images, labels):
        dropout_key = jax.random.fold_in(jax.random.key(seed), state.step)
        images = normalize(images, model.preprocessing)
        (value, batch_stats), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.params, state, images, labels, dropout_key
        )
        norm = optax.tree.norm(gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        sizes = jnp.stack([value, norm, optax.tree.norm(updates)])
        bad = ~jnp.isfinite(sizes).all() & (state.first_bad_step < 0)
        state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            first_bad_step=jnp.where(bad, state.step + 1, state.first_bad_step),
        )
        return state, {"loss": value, "gradient_norm": norm}

    return train_step
