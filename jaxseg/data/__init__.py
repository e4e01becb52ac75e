"""Data sets, augmentation, and batches in an order defined by the seed.

source = open_data(config.data, "train", config.seed)
for batch in train_batches(source, seed=0, batch_size=8, augment=Augment(crop=(64, 64))):
    ...
"""

from jaxseg.data.augment import Augment, resize_image
from jaxseg.data.batches import Batch, batch_shapes
from jaxseg.data.classes_file import check_same_classes, load_classes, save_classes
from jaxseg.data.first_look import first_look
from jaxseg.data.images import read_image
from jaxseg.data.listing import Listing, Pair, Pairs, Problem
from jaxseg.data.loader import eval_batches, train_batches
from jaxseg.data.masks import read_mask
from jaxseg.data.position import check_position, position
from jaxseg.data.registry import list_data, open_data
from jaxseg.data.scenes import Scenes
from jaxseg.data.skipped import Skipped
from jaxseg.data.source import Cached, DataInfo, Example, Source
from jaxseg.data.voc_folder import VocFolder

__all__ = [
    "Augment",
    "Batch",
    "Cached",
    "DataInfo",
    "Example",
    "Listing",
    "Pair",
    "Pairs",
    "Problem",
    "Scenes",
    "Skipped",
    "Source",
    "VocFolder",
    "batch_shapes",
    "check_position",
    "check_same_classes",
    "first_look",
    "eval_batches",
    "list_data",
    "load_classes",
    "open_data",
    "position",
    "read_image",
    "read_mask",
    "resize_image",
    "save_classes",
    "train_batches",
]
