"""The state of a run, and the jitted step that advances it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxseg.losses import labelled_weight, named_loss
from jaxseg.losses.inputs import checked_weights
from jaxseg.metrics import coarse_confusion
from jaxseg.models import normalize
from jaxseg.models.logits import coarse_logits
from jaxseg.ops.sums import square_sum
from jaxseg.training.optimizers import parameter_name


@flax.struct.dataclass
class TrainState:
    """All values that a step changes.

    Attributes:
      step: int32 scalar, number of steps taken.
      params: float32 parameters.
      batch_stats: running statistics of batch norm ({} without batch norm).
      opt_state: state of the optimizer.
      first_bad_step: int32 scalar, the first step whose loss, gradient or update was not finite;
        -1 for none.
      average: `{"params": ..., "batch_stats": ...}`, the moving average of both; {} if none is
        kept.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    first_bad_step: jax.Array
    average: Any = flax.struct.field(default_factory=dict)

    @property
    def variables(self) -> dict:
        """The variables for evaluation with `model.apply`: the average, if one is kept."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    seed: int,
    image_size: tuple[int, int],
    averaged: bool = False,
) -> TrainState:
    """Creates a state at step 0.

    Args:
      model: the network.
      optimizer: the optimizer.
      seed: seed of the initial parameters.
      image_size: (height, width) of an image that the network supports; parameters do not depend on
        it.
      averaged: whether the state keeps a moving average of the parameters.
    """
    images = jnp.zeros((1, *image_size, model.preprocessing.channels), jnp.float32)
    return state_at_start(model.init(jax.random.key(seed), images), optimizer, averaged)


def state_at_start(
    variables: dict, optimizer: optax.GradientTransformation, averaged: bool = False
) -> TrainState:
    """Creates a state at step 0 with these variables."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    copy = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats})
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        first_bad_step=jnp.int32(-1),
        average=copy if averaged else {},  # a copy: the step donates each buffer once
    )


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Mapping[str, Any] | ml_collections.ConfigDict | None = None,
    seed: int = 0,
    ignore_label: int = 255,
    *,
    accumulate: int = 1,
    ema: float | None = None,
    frozen: Callable[[str], bool] | None = None,
    gather: Callable[[Any], Any] | None = None,
) -> Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
    """Returns a pure function (state, images, labels) -> (state, metrics), ready for jit.

    Images are uint8 [N, H, W, 3] RGB and labels uint8 [N, H, W]. Dropout depends only on the seed
    and the step. Over a mesh, with the batch split and the state replicated, batch norm and loss
    are those of the whole batch. The metrics, float32 scalars, are `loss`, `gradient_norm` (before
    clipping) and `guessing`: the cross-entropy of equal class probabilities, as a reference for a
    loss that does not fall; NaN for other losses.

    Args:
      model: the network.
      optimizer: the optimizer.
      loss: a run's `config.loss`, or some of its fields; None: the mean cross-entropy.
      seed: seed of dropout.
      ignore_label: the label of ignored pixels.
      accumulate: number of parts in which the batch is processed, one after the other, with one
        gradient for the whole batch; only the activations of one part are in memory. The loss is
        that of the batch: "mean" is over all its labelled pixels (Caffe's `iter_size` averages the
        means of the parts, which differs if the parts have unequal numbers of labelled pixels).
        OHEM, Dice and Lovász are not sums over pixels: they are averaged over the parts, weighted
        by labelled pixels. Batch norm uses the statistics of a part, and every part updates the
        running statistics, as in Caffe. Part j contains the images j, j + accumulate, ..., so that
        each device of a batch has some images of each part.
      ema: the decay d of the moving average; the state must keep one (`averaged`). After step t =
        1, 2, ... it is average = d' * average + (1 - d') * value with d' = min(d, t / (9 + t)), so
        the influence of the random start vanishes soon. The running statistics of batch norm are
        averaged like the parameters, to match the evaluated network.
      frozen: whether the parameter of a name such as "params/conv1_1/kernel" is frozen (see
        `jaxseg.training.optimizers.frozen`): its gradient is not computed and does not count in the
        norm.
      gather: gathers the parameters of a sharded state for the network (see
        `jaxseg.distributed.mesh.gathered`); None: they are not sharded.

    Raises:
      InputError: an unknown loss or loss field, or not one class weight per class.
    """
    fields: dict[str, Any] = {"name": "cross_entropy", "reduction": "mean", "class_weights": None}
    fields |= dict(loss or {})
    checked_weights(fields["class_weights"], model.num_classes)  # fails now, not at the first step
    loss_of = named_loss(**fields, ignore_label=ignore_label)

    def label_weight(labels):
        """The number of labelled pixels of each image, or the sum of their class weights."""
        return labelled_weight(
            labels,
            model.num_classes,
            ignore_label=ignore_label,
            class_weights=fields["class_weights"],
        )

    def objective(params, batch_stats, images, labels, dropout_key):
        if frozen is not None:
            params = jax.tree_util.tree_map_with_path(
                lambda path, w: jax.lax.stop_gradient(w) if frozen(parameter_name(path)) else w,
                params,
            )
        if gather is not None:
            params = gather(params)
        heads, changed = model.apply(
            {"params": params, "batch_stats": batch_stats},
            normalize(images, model.preprocessing),
            train=True,
            method="heads",
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        losses = [h.weight * loss_of(h.logits, labels, h.upsampling) for h in heads]
        weight = jnp.float32(sum(h.weight for h in heads))
        return sum(losses), (changed.get("batch_stats", {}), weight)

    value_and_grad = jax.value_and_grad(objective, has_aux=True)

    def accumulated_value_and_grad(params, batch_stats, images, labels, dropout_key):
        images, labels = _parts(images, accumulate), _parts(labels, accumulate)
        if fields["reduction"] == "mean":
            weights = label_weight(labels).sum(axis=1)
            shares = weights / jnp.maximum(weights.sum(), jnp.finfo(jnp.float32).tiny)
        else:
            shares = jnp.full(accumulate, 1 / accumulate)

        def add_part(carry, part):
            value, gradient, batch_stats = carry
            images, labels, share, number = part
            key = jax.random.fold_in(dropout_key, number)
            (v, (batch_stats, weight)), g = value_and_grad(params, batch_stats, images, labels, key)
            gradient = jax.tree.map(lambda total, g: total + share * g, gradient, g)
            return (value + share * v, gradient, batch_stats), weight

        start = (jnp.float32(0), jax.tree.map(jnp.zeros_like, params), batch_stats)
        parts = (images, labels, shares, jnp.arange(accumulate))
        (value, gradient, batch_stats), weights = jax.lax.scan(add_part, start, parts)
        return (value, (batch_stats, weights[0])), gradient

    def loss_of_guessing(labels):
        """The loss of a head with equal probabilities for all classes."""
        if fields["name"] != "cross_entropy":
            return jnp.nan
        of_a_pixel = math.log(model.num_classes)
        if fields["reduction"] == "mean":
            return of_a_pixel
        return of_a_pixel * label_weight(labels).sum() / labels.shape[0]

    def train_step(state, images, labels):
        dropout_key = jax.random.fold_in(jax.random.key(seed), state.step)
        (value, (batch_stats, weight)), gradient = (
            accumulated_value_and_grad if accumulate > 1 else value_and_grad
        )(state.params, state.batch_stats, images, labels, dropout_key)
        norm = _norm(gradient)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params, step = optax.apply_updates(state.params, updates), state.step + 1
        # A non-finite update gives a non-finite parameter: checking it needs no array of updates.
        sizes = jnp.stack([value, norm, _norm(params)])
        bad = ~jnp.isfinite(sizes).all() & (state.first_bad_step < 0)
        average = state.average
        if ema is not None:
            new_share = 1 - jnp.minimum(ema, step / (9 + step))
            now = {"params": params, "batch_stats": batch_stats}
            average = jax.tree.map(  # frozen parameters stay bitwise equal
                lambda a, b: jnp.where(a == b, a, a + new_share * (b - a)), average, now
            )
        state = TrainState(
            step=step,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            first_bad_step=jnp.where(bad, step, state.first_bad_step),
            average=average,
        )
        return state, {
            "loss": value,
            "gradient_norm": norm,
            "guessing": weight * loss_of_guessing(labels),
        }

    return train_step


def make_eval_step(
    model: nn.Module, ignore_label: int = 255
) -> Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]:
    """Returns a pure function (variables, images, labels, confusion) -> confusion, ready for jit.

    It adds the counts of a batch to the confusion matrix.

    Images are uint8 [N, H, W, 3] RGB and labels uint8 [N, H', W'], of another size if images were
    resized. The matrix is [C, C] integers, row = truth, as for `jaxseg.metrics.scores`; start with
    zeros. In int32 it counts up to 2,147,483,647 pixels of a class; sum larger counts in NumPy.

    Args:
      model: the network.
      ignore_label: the label of pixels that are not counted.
    """

    def eval_step(variables, images, labels, confusion):
        logits, upsampling = coarse_logits(model, variables, images, labels.shape[1:3])
        return confusion + coarse_confusion(logits, labels, upsampling, ignore_label=ignore_label)

    return eval_step


def _parts(batch: jax.Array, count: int) -> jax.Array:
    """[N, ...] to [count, N / count, ...]: element i of the batch is in part i % count."""
    return batch.reshape(-1, count, *batch.shape[1:]).swapaxes(0, 1)


def _norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all leaves of a pytree."""
    return jnp.sqrt(square_sum(*jax.tree.leaves(tree)))
