"""Detects the depth of the ResNet in a file."""

import re

from jaxseg.errors import InputError
from jaxseg.models.resnet import BASIC_BLOCKS, BLOCKS
from jaxseg.pretrained.tensor_file import TensorFile


def resnet_depth(file: TensorFile, pattern: str, basic: bool = False) -> int:
    """The depth of a ResNet, found by counting its blocks.

    Args:
      file: the file.
      pattern: a regular expression for the full name of a tensor that each block has once; its
        first group is the number of the stage.
      basic: whether the blocks are basic blocks, with two convolutions.

    Raises:
      InputError: no supported ResNet has these numbers of blocks.
    """
    found = (re.fullmatch(pattern, name) for name in file.tensors)
    stages = [int(match[1]) for match in found if match]
    blocks = tuple(stages.count(stage) for stage in sorted(set(stages)))
    for depth, known in (BASIC_BLOCKS if basic else BLOCKS).items():
        if known == blocks:
            return depth
    raise InputError(
        f"{file.path} is a ResNet with {', '.join(map(str, blocks))} "
        f"{'basic blocks' if basic else 'bottlenecks'} in its stages.",
        "Give one of depth 18 (2, 2, 2, 2) or 34 (3, 4, 6, 3)."
        if basic
        else "Give one of depth 50 (3, 4, 6, 3), 101 (3, 4, 23, 3) or 152 (3, 8, 36, 3).",
    )


def resnet_name(family: str, depth: int, known: tuple[int, ...]) -> str:
    """A model's name: with `depth` if it is `known`, otherwise 50 (a field sets the depth)."""
    return f"{family}{depth if depth in known else 50}"
