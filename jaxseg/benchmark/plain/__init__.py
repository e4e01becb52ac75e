"""The three networks as anyone would write them in Flax and Optax, to set compiled programs beside.

`flax.linen`'s own layers, logits at full resolution in float32, Optax's cross-entropy: no op, no
loss and no metric of jaxseg's. The same layers and sizes, so the same parameters.
"""

from jaxseg.benchmark.plain.steps import plain_network, plain_step

__all__ = ["plain_network", "plain_step"]
