"""ResNet-18 and 34, and dilations at output stride 32, against an independent PyTorch network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from base import randomized

from jaxseg import create_model
from jaxseg.models.resnet import BASIC_BLOCKS, BLOCKS, ResNet

torch = pytest.importorskip("torch")
F = torch.nn.functional


def conv_norm(params, stats, x, stride=1, dilation=1, relu=True):
    """A `ConvNorm` in evaluation mode, with our arrays."""
    kernel = torch.tensor(np.array(params["kernel"])).permute(3, 2, 0, 1)
    x = F.conv2d(x, kernel, None, stride, dilation * (kernel.shape[2] // 2), dilation)
    mean, var = (torch.tensor(np.array(stats["bn"][k])) for k in ("mean", "var"))
    scale, bias = (torch.tensor(np.array(params["bn"][k])) for k in ("scale", "bias"))
    x = F.batch_norm(x, mean, var, scale, bias, eps=1e-5)
    return F.relu(x) if relu else x


def basic(params, stats, x, stride, dilation):
    """mmsegmentation's BasicBlock: the first convolution has the stride and the dilation."""
    y = conv_norm(params["conv1"], stats["conv1"], x, stride, dilation)
    y = conv_norm(params["conv2"], stats["conv2"], y, relu=False)
    if "project" in params:
        x = conv_norm(params["project"], stats["project"], x, stride, relu=False)
    return F.relu(x + y)


def bottleneck(params, stats, x, stride, dilation):
    y = conv_norm(params["conv1"], stats["conv1"], x)
    y = conv_norm(params["conv2"], stats["conv2"], y, stride, dilation)
    y = conv_norm(params["conv3"], stats["conv3"], y, relu=False)
    if "project" in params:
        x = conv_norm(params["project"], stats["project"], x, stride, relu=False)
    return F.relu(x + y)


def torchs(variables, x, depth, strides, dilations):
    """The four stages; the first block of a dilated stage has half its dilation."""
    params, stats = variables["params"], variables["batch_stats"]
    x = torch.tensor(np.array(x)).permute(0, 3, 1, 2)
    for i, stride in enumerate((2, 1, 1), 1):
        x = conv_norm(params[f"conv{i}"], stats[f"conv{i}"], x, stride)
    x, stages = F.max_pool2d(x, 3, 2, 1), []
    block = basic if depth in BASIC_BLOCKS else bottleneck
    counts = BASIC_BLOCKS.get(depth) or BLOCKS[depth]
    for stage, (count, stride, dilation) in enumerate(
        zip(counts, strides, dilations, strict=True), 1
    ):
        for i in range(1, count + 1):
            name = f"layer{stage}_block{i}"
            first = i == 1
            dilated = dilation // 2 if first and dilation > 1 else dilation
            x = block(params[name], stats[name], x, stride if first else 1, dilated)
        stages.append(x.permute(0, 2, 3, 1))
    return stages


@pytest.mark.default_cases(1)
@pytest.mark.parametrize(
    ("depth", "fields", "strides", "dilations"),
    [
        (18, {"output_stride": 8}, (1, 2, 1, 1), (1, 1, 2, 4)),
        pytest.param(
            *(34, {"output_stride": 16}, (1, 2, 2, 1), (1, 1, 1, 2)), marks=pytest.mark.slow
        ),
        (18, {"output_stride": 32}, (1, 2, 2, 2), (1, 1, 1, 1)),
        (14, {"output_stride": 32, "dilations": (1, 1, 2, 4)}, (1, 2, 2, 2), (1, 1, 2, 4)),
    ],
)
def test_stages_are_torchs(depth, fields, strides, dilations):
    model = ResNet(depth, stem="v1c", dilate_first=False, width=0.1, **fields)
    x = np.random.default_rng(0).standard_normal((2, 71, 90, 3)).astype(np.float32)
    variables = randomized(jax.eval_shape(model.init, jax.random.key(0), x))
    got = jax.jit(model.apply)(variables, jnp.asarray(x))
    want = torchs(variables, x, depth, strides, dilations)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_parameter_counts_are_torchvisions():
    """11,689,512 and 21,797,672, less the classifier's 513,000."""
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    for depth, count in ((18, 11_176_512), (34, 21_284_672)):
        shapes = jax.eval_shape(ResNet(depth, stem="7x7").init, jax.random.key(0), x)
        assert sum(a.size for a in jax.tree.leaves(shapes["params"])) == count


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pspnet_resnet18", "fcn_resnet18", "pspnet_resnet34"])
def test_heads_have_a_quarter_of_the_stages_channels(name):
    """128 and 64, as in mmsegmentation's networks on ResNet-18."""
    model = create_model(name, 19)
    x = jax.ShapeDtypeStruct((2, 65, 65, 3), np.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    assert params["head"]["conv"]["kernel"].shape[-1] == 128
    assert params["aux"]["conv"]["kernel"].shape[-1] == 64
