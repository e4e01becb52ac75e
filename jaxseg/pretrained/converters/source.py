"""Describes a family of weight files: its tensors, and the networks that they fit."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jaxseg.models import SegmentationModel, create_model
from jaxseg.models.preprocessing import NORMALIZATIONS
from jaxseg.pretrained.tensor_file import TensorFile


@dataclasses.dataclass(frozen=True)
class Take:
    """A parameter that is filled from a file.

    Attributes:
      names: names of its source tensors in the file.
      convert: maps these tensors, in order, to the parameter; a view if possible, because values
        are copied once at the end. It may raise ValueError for an unsuitable shape.
    """

    names: tuple[str, ...]
    convert: Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Keep:
    """A parameter that is not in a file and keeps its initial value.

    Attributes:
      reason: the reason, for the report: "the classifier has no such layer".
    """

    reason: str


@dataclasses.dataclass(frozen=True)
class Fit:
    """A network that fits a file.

    Attributes:
      model: a name for `create_model`.
      fields: required values of the fields that affect the meaning of the tensors.
      normalization: input normalisation of the weights, a name in
        `jaxseg.models.preprocessing.NORMALIZATIONS`. For a classifier, which is trained further, a
        mean that differs by less than one grey level is accepted.
      num_classes: number of classes of the file's logits layer; None if the file has no logits
        layer for the network, so that any number fits.
      images: fields of the kind of images, if they are not 8-bit RGB. They may differ; but only
        weights for three channels can be adapted to another number
        (`jaxseg.pretrained.channels`).
    """

    model: str
    fields: Mapping[str, Any]
    normalization: str
    num_classes: int | None = None
    images: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def create(self, num_classes: int | None = None, **fields: Any) -> SegmentationModel:
        """Creates the network; `fields` are set in addition to the required ones."""
        classes = self.num_classes or num_classes or 21
        return create_model(self.model, classes, **{**self.needed(), **fields})

    def needed(self) -> dict[str, Any]:
        """The required fields that differ from the defaults of `create_model`."""
        plain = create_model(self.model, 2)
        fields = {k: v for k, v in self.fields.items() if getattr(plain, k) != v}
        if (
            create_model(self.model, 2, **fields).of_photographs
            != NORMALIZATIONS[self.normalization]
        ):
            fields["normalization"] = self.normalization
        return fields | dict(self.images)

    def call(self, num_classes: int | None = None, unlike: nn.Module | None = None) -> str:
        """The call of `create_model` as source code; it includes all fields that differ in
        `unlike`, even those with default values."""
        fields = {"num_classes": self.num_classes or num_classes, **self.needed()}
        if unlike is not None:
            fields |= {k: v for k, v in self.fields.items() if getattr(unlike, k) != v}
            if not self._normalized_alike(unlike):
                fields["normalization"] = self.normalization
        said = ", ".join(f"{k}={v!r}" for k, v in fields.items())
        return f"jaxseg.create_model({self.model!r}, {said})"

    def differences(self, model: nn.Module) -> list[str] | None:
        """Required fields that differ in `model`, except num_classes; None: not this network."""
        if type(model) is not type(create_model(self.model, 2)):
            return None
        found = [
            f"{field} is {getattr(model, field)!r}"
            for field, value in self.fields.items()
            if getattr(model, field) != value
        ]
        if self.images.get("channels", 3) not in (3, model.channels):
            found.append(f"channels is {model.channels}")
        if not self._normalized_alike(model):
            found.append(f"its images are normalised with {model.of_photographs}")
        return found

    def _normalized_alike(self, model: nn.Module) -> bool:
        ours, theirs = model.of_photographs, NORMALIZATIONS[self.normalization]
        apart = max(abs(a - b) for a, b in zip(ours.mean, theirs.mean, strict=True))
        return ours.std == theirs.std and apart < (1 if self.num_classes is None else 1e-6)


@dataclasses.dataclass(frozen=True)
class Source:
    """A family of files with the same tensor names, and how they fill a network.

    Attributes:
      name: origin and kind, such as "caffe_fcn"; a caller may give it, or the part before the "_".
      title: the kind of file, for a sentence: "a released Caffe FCN".
      recognises: whether a file belongs to this family, by names and shapes of its tensors.
      fits: the networks that fit the file; the first one is the original.
      take: the source of a parameter of the network, such as "params/conv1_1/kernel".
      unused: the reason why a tensor of the file is not used; None if there is no good reason.
      check: raises InputError if a constant in the file differs from the one built into the
        network. Not called if the logits layers are reset.
      notes: notes for users of the file.
      licence: licence of the authors, if known: "research only".
    """

    name: str
    title: str
    recognises: Callable[[TensorFile], bool]
    fits: Callable[[TensorFile], list[Fit]]
    take: Callable[[TensorFile, nn.Module, str], Take | Keep]
    unused: Callable[[TensorFile, nn.Module, str], str | None] = lambda file, model, name: None
    check: Callable[[TensorFile, nn.Module], None] = lambda file, model: None
    notes: tuple[str, ...] = ()
    licence: str | None = None
