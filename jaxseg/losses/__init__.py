"""Losses of coarse logits against label maps, without the full-resolution logits in memory.

Every loss takes `(coarse_logits, labels, upsample, ...)` and skips pixels with the ignore label. If
all pixels are ignored, the loss and its gradient are exactly 0.
"""

from jaxseg.losses.hard_pixels import ohem
from jaxseg.losses.inputs import labelled_weight
from jaxseg.losses.lovasz_softmax import lovasz
from jaxseg.losses.named import LOSSES, TAKES, named_loss, names_in
from jaxseg.losses.overlap import dice
from jaxseg.losses.pixelwise import cross_entropy, focal

__all__ = [
    "LOSSES",
    "TAKES",
    "cross_entropy",
    "dice",
    "focal",
    "labelled_weight",
    "lovasz",
    "named_loss",
    "names_in",
    "ohem",
]
