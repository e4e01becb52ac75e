"""The description of a family of files: its tensors, and the networks that they fill."""

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
      names: the tensors that it is made of, as the file names them.
      convert: makes the parameter of them, in their order; a view of them where it can be, for the
        values are copied once at the end. It may raise ValueError where a shape does not allow it.
    """

    names: tuple[str, ...]
    convert: Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Keep:
    """A parameter that a file does not have: it keeps its initial value.

    Attributes:
      reason: why, as the report says it: "a classifier has no such layer".
    """

    reason: str


@dataclasses.dataclass(frozen=True)
class Fit:
    """A network that a file can fill.

    Attributes:
      model: a name that `create_model` takes.
      fields: the fields on which it depends whether the tensors mean what they did in the original
        network, with the values that they have to have.
      normalization: of the images that the weights expect, a name in
        `jaxseg.models.preprocessing.NORMALIZATIONS`. Of a classifier that is to be trained on, a
        mean will do that is less than one grey level away.
      num_classes: how many the file's own score layer has; None where the network's score is not in
        the file, so that any number will do.
      images: of a network of other images than photographs, the fields that say which. They may
        differ; but only weights of three channels can start a network of another number
        (`jaxseg.pretrained.channels`).
    """

    model: str
    fields: Mapping[str, Any]
    normalization: str
    num_classes: int | None = None
    images: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def create(self, num_classes: int | None = None, **fields: Any) -> SegmentationModel:
        """Makes the network; `fields` are set beside its own."""
        classes = self.num_classes or num_classes or 21
        return create_model(self.model, classes, **{**self.needed(), **fields})

    def needed(self) -> dict[str, Any]:
        """The fields that have another value than `create_model` gives them by itself."""
        plain = create_model(self.model, 2)
        fields = {k: v for k, v in self.fields.items() if getattr(plain, k) != v}
        if (
            create_model(self.model, 2, **fields).of_photographs
            != NORMALIZATIONS[self.normalization]
        ):
            fields["normalization"] = self.normalization
        return fields | dict(self.images)

    def call(self, num_classes: int | None = None, unlike: nn.Module | None = None) -> str:
        """The call that makes the network, as one would write it; with the fields that `unlike` has
        otherwise, also where `create_model` would set them by itself."""
        fields = {"num_classes": self.num_classes or num_classes, **self.needed()}
        if unlike is not None:
            fields |= {k: v for k, v in self.fields.items() if getattr(unlike, k) != v}
            if not self._normalized_alike(unlike):
                fields["normalization"] = self.normalization
        said = ", ".join(f"{k}={v!r}" for k, v in fields.items())
        return f"jaxseg.create_model({self.model!r}, {said})"

    def differences(self, model: nn.Module) -> list[str] | None:
        """In what `model` differs, number of classes aside; None where it is another network."""
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
    """A family of files with the same names inside, and how they fill a network.

    Attributes:
      name: origin and kind, such as "caffe_fcn"; a caller may give it, or the part before the "_".
      title: the kind of file, for a sentence: "a released Caffe FCN".
      recognises: whether a file is of this family; told from the names and shapes inside.
      fits: the networks that the file can fill, the one that it was made for first.
      take: for a parameter of the network, such as "params/conv1_1/kernel", where it comes from.
      unused: why a tensor of the file, which no parameter takes, is rightly left out; None where
        there is no good reason.
      check: looks at what a file has fixed and a network has built in; raises InputError where they
        differ. Not called where the scores are reset.
      notes: for the file's users.
      licence: of its authors, where it is known: "research only".
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
