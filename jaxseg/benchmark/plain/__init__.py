"""The three networks in ordinary Flax and Optax code, as a baseline for compiled programs.

They use `flax.linen`'s own layers, float32 logits at full resolution and Optax's cross-entropy,
but no op, loss or metric of jaxseg. Layers and sizes are the same, and so are the parameters.
"""

from jaxseg.benchmark.plain.steps import plain_network, plain_step

__all__ = ["plain_network", "plain_step"]
