"""The six networks at their smallest: eight devices share a batch, and agree with PyTorch.

A network's program is compiled once for all of its tests. Tests of a single network are in its own
file, most of them marked slow.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from base import close, images, labels, randomized, trees_close
from flax.traverse_util import flatten_dict

from jaxseg import create_model
from jaxseg.distributed.mesh import replicated, split_batch
from jaxseg.losses import cross_entropy


@dataclasses.dataclass
class Case:
    """A network at its smallest.

    Attributes:
      fields: fields of the network.
      size: size of its images.
      reference: makes the same network in PyTorch.
      layers: some of our layers, by path, with their names in PyTorch's network.
      rounding: factor on tolerances. Rounding matters more with batch norm, because statistics of
        few values change, and with unpooling, because positions change.
      train: whether the batch's own statistics are used. DeconvNet's gradient then jumps by
        rounding alone: another maximum is found, and unpooled elsewhere.
    """

    fields: dict[str, Any]
    size: tuple[int, int]
    reference: Callable
    layers: dict[str, str]
    rounding: float = 1.0
    train: bool = True


def vgg16():
    from torch_fcn import FCN

    return FCN(5, 0.05, 40, released=True)


def alexnet():
    from torch_fcn_variants import AlexNet

    return AlexNet(5, (10, 26, 38, 38, 26, 40))


def googlenet():
    from torch_fcn_variants import GoogLeNet

    return GoogLeNet(5, 0.2)


def resnet():
    from torch_resnet import FCNResNet

    return FCNResNet(5, depth=14, width=0.125)


def deconvnet():
    from torch_deconvnet import DeconvNet

    return DeconvNet(5, 0.05, 2)


def pspnet():
    from torch_resnet import PSPNet

    return PSPNet(5, depth=14, width=0.125)


CASES = {
    "fcn8s_vgg16": Case(
        {"width": 0.05, "fc_channels": 800, "dropout": 0.0},
        (33, 47),
        vgg16,
        {"conv1_1": "convs.conv1_1", "fc6": "convs.fc6", "score_pool3": "scores.score_pool3"},
    ),
    "fcn32s_alexnet": Case(
        {"width": 0.1, "fc_channels": 400, "dropout": 0.0},
        (33, 47),
        alexnet,
        {"conv1": "convs.conv1", "conv5": "convs.conv5", "score_fr": "convs.score_fr"},
    ),
    "fcn32s_googlenet": Case(
        {"width": 0.2, "dropout": 0.0},
        (33, 47),
        googlenet,
        {
            "conv1": "convs.conv1",
            "inception_3b/pool_proj": "convs.inception_3b/pool_proj",
            "score_fr": "convs.score_fr",
        },
    ),
    "fcn_resnet50": Case(
        {"depth": 14, "width": 0.125, "dropout": 0.0},
        (33, 41),
        resnet,
        {
            "backbone/conv1": "backbone.conv1",
            "backbone/layer4_block1/conv2": "backbone.layer4.0.conv2",
            "aux/score": "aux_classifier.4",
            "head/score": "classifier.4",
        },
        rounding=10,
    ),
    "deconvnet_vgg16": Case(
        {"width": 0.05, "fc_kernel": 2},
        (64, 64),
        deconvnet,
        {"conv1_1": "convs.conv1_1", "fc6_deconv": "convs.fc6_deconv", "score": "convs.score"},
        rounding=5,
        train=False,
    ),
    "pspnet_resnet50": Case(
        {"depth": 14, "width": 0.125, "dropout": 0.0},
        (33, 41),
        pspnet,
        {
            "backbone/conv1": "layer0.0",
            "level2": "ppm.features.1.1",
            "aux/score": "aux.4",
            "head/score": "cls.4",
        },
        rounding=10,
    ),
}


class Network:
    """Results of eight devices for a batch of eight: loss, gradient, logits, new statistics."""

    def __init__(self, name, mesh):
        self.case = case = CASES[name]
        self.model = create_model(name, 5, **case.fields)
        self.batch = images(8, case.size), labels(8, case.size, 5)
        shapes = jax.eval_shape(self.model.init, jax.random.key(0), self.batch[0][:1])
        self.variables = randomized(shapes)
        split, whole = split_batch(mesh), replicated(mesh)
        step = jax.jit(
            self.step,
            in_shardings=(whole, split, split),
            out_shardings=(whole, whole, split, whole),
        )
        self.value, self.gradient, self.logits, self.changed = step(self.variables, *self.batch)

    def step(self, variables, x, y):
        def loss(params):
            heads, changed = self.model.apply(
                variables | {"params": params},
                x,
                train=self.case.train,
                method="heads",
                mutable=["batch_stats"],
            )
            losses = [h.weight * cross_entropy(h.logits, y, h.upsampling) for h in heads]
            return sum(losses), (heads[0].upsampled(), changed)

        (value, (logits, changed)), gradient = jax.value_and_grad(loss, has_aux=True)(
            variables["params"]
        )
        return value, gradient, logits, changed


# GoogLeNet's many small layers take as long to compile as all others together
SLOW = ("fcn32s_googlenet", "fcn32s_alexnet", "fcn_resnet50")  # FCN-8s and PSPNet have their layers


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES],
)
def network(request, mesh):
    return Network(request.param, mesh)


def test_gradient_reaches_every_parameter(network):
    assert len(network.logits.sharding.device_set) == 8
    value, gradient, changed = jax.device_get((network.value, network.gradient, network.changed))
    assert np.isfinite(value)
    for path, leaf in flatten_dict(gradient, sep="/").items():
        assert np.isfinite(leaf).all() and leaf.dtype == np.float32, path
        if not path.endswith("/bias"):  # batch norm cancels a bias before it
            assert (leaf != 0).any(), path
    for path, new in flatten_dict(dict(changed), sep="/").items():
        old = flatten_dict(network.variables, sep="/")[path]
        assert (new != old).any() == network.case.train, path


def test_logits_and_gradients_are_those_of_pytorch(network, torch):
    """PyTorch normalizes the whole batch, so the eight devices must share their statistics."""
    case = network.case
    other = case.reference().load(network.variables).train(case.train)
    x, y = (torch.tensor(np.asarray(a)) for a in network.batch)
    x, y = x.permute(0, 3, 1, 2), y.long()
    forward = getattr(other, "main_aux", lambda x: (other(x),))
    heads = forward(x)
    weights = [1, getattr(network.model, "aux_weight", 0)]
    loss = sum(
        weight * torch.nn.functional.cross_entropy(logits, y, ignore_index=255)
        for weight, logits in zip(weights, heads, strict=False)
    )
    loss.backward()
    close(network.logits, heads[0].detach().permute(0, 2, 3, 1), 1e-4 * case.rounding)
    np.testing.assert_allclose(network.value, loss.detach(), rtol=1e-4 * case.rounding)
    gradient = flatten_dict(network.gradient, sep="/")
    for path, name in case.layers.items():
        layer = other.get_submodule(name)
        deconvolution = isinstance(layer, torch.nn.ConvTranspose2d)
        order = (2, 3, 0, 1) if deconvolution else (2, 3, 1, 0)
        close(gradient[f"{path}/kernel"], layer.weight.grad.permute(order), 1e-3 * case.rounding)


@pytest.mark.slow
def test_one_device_gets_the_same(network):
    """Loss, gradient, logits and batch statistics."""
    value, gradient, logits, changed = jax.jit(network.step)(network.variables, *network.batch)
    np.testing.assert_allclose(value, network.value, rtol=1e-5)
    rounding = network.case.rounding
    close(logits, network.logits, 1e-5 * rounding)
    trees_close(changed, network.changed, 1e-5 * rounding)
    trees_close(gradient, network.gradient, 2e-3 * rounding)  # rounding can move some past a ReLU
