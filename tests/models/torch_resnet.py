"""PSPNet and torchvision's FCN in PyTorch, written from their layer tables, not from jaxseg.

Parameters are named as in semseg's and torchvision's files.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install '.[torch]'")
nn, F = torch.nn, torch.nn.functional

STEMS = {"deep": (64, 64, 128), "v1c": (32, 32, 64), "7x7": (64,)}
BASIC_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BLOCKS = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# output stride: stride, dilation of the first block's 3x3, dilation of the others', for each stage
PSPNET = {
    8: ((1, 1, 1), (2, 1, 1), (1, 2, 2), (1, 4, 4)),
    16: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 2, 2)),
    32: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)),
}
TORCHVISION = {
    8: ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)),
    16: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2)),
    32: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)),
}


def conv(inputs, outputs, kernel, stride=1, dilation=1):
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


def conv_bn_relu(inputs, outputs, kernel, stride=1):
    return [conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs), nn.ReLU()]


def deep_stem(widths):
    """Three 3x3 convolutions, or one of 7x7 if only one width is given."""
    if len(widths) == 1:
        return conv_bn_relu(3, *widths, 7, 2)
    first, second, third = widths
    return [
        *conv_bn_relu(3, first, 3, 2),
        *conv_bn_relu(first, second, 3),
        *conv_bn_relu(second, third, 3),
    ]


class Block(nn.Module):
    def __init__(self, inputs, planes, stride, dilation, first, stride_on):
        super().__init__()
        strides = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.conv1, self.bn1 = conv(inputs, planes, 1, strides[0]), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, strides[1], dilation), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv(planes, 4 * planes, 1), nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if first:
            self.downsample = nn.Sequential(
                conv(inputs, 4 * planes, 1, stride), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class BasicBlock(nn.Module):
    """mmsegmentation's block: the first convolution has the stride and the dilation."""

    def __init__(self, inputs, planes, stride, dilation):
        super().__init__()
        self.conv1 = conv(inputs, planes, 3, stride, dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.downsample = None
        if stride > 1 or inputs != planes:
            self.downsample = nn.Sequential(conv(inputs, planes, 1, stride), nn.BatchNorm2d(planes))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def basic_stages(blocks, table, inputs, width):
    """Like `stages`, with basic blocks."""
    for planes, count, (stride, first, others) in zip(
        (64, 128, 256, 512), blocks, table, strict=True
    ):
        planes = round(planes * width)
        stage = [BasicBlock(inputs, planes, stride, first)]
        stage += [BasicBlock(planes, planes, 1, others) for _ in range(1, count)]
        inputs = planes
        yield nn.Sequential(*stage)


def stages(blocks, table, inputs, width, stride_on):
    for planes, count, (stride, first, others) in zip(
        (64, 128, 256, 512), blocks, table, strict=True
    ):
        planes = round(planes * width)
        stage = [Block(inputs, planes, stride, first, True, stride_on)]
        inputs = 4 * planes
        stage += [Block(inputs, planes, 1, others, False, stride_on) for _ in range(1, count)]
        yield nn.Sequential(*stage)


class PSPNet(nn.Module):
    """Images and logits are [N, C, H, W]. `main_aux` gives both heads' logits, upsampled."""

    def __init__(
        self,
        num_classes,
        depth=50,
        width=1.0,
        output_stride=8,
        bins=(1, 2, 3, 6),
        pooling="avg",
        reduce=True,
        stride_on="3x3",
        stem="deep",
        dilate_first=True,
        align_corners=True,
    ):
        super().__init__()
        self.align_corners = align_corners
        widths = [round(c * width) for c in STEMS[stem]]
        self.layer0 = nn.Sequential(*deep_stem(widths), nn.MaxPool2d(3, 2, 1))
        strides = (PSPNET if dilate_first else TORCHVISION)[output_stride]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(
            BLOCKS[depth], strides, widths[-1], width, stride_on
        )
        c = 4 * round(512 * width)
        self.pool = nn.AdaptiveAvgPool2d if pooling == "avg" else nn.AdaptiveMaxPool2d
        self.ppm, total = nn.Module(), c
        self.ppm.features = nn.ModuleList()
        for b in bins:
            level = conv_bn_relu(c, c // len(bins), 1) if reduce else []
            self.ppm.features.append(nn.Sequential(self.pool(b), *level))
            total += c // len(bins) if reduce else c

        def head(inputs, hidden):
            return nn.Sequential(
                *conv_bn_relu(inputs, hidden, 3), nn.Dropout2d(0), nn.Conv2d(hidden, num_classes, 1)
            )

        self.cls = head(total, round(512 * width))
        self.aux = head(4 * round(256 * width), round(256 * width))

    def main_aux(self, image):
        def up(x, size):
            return F.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)

        middle = self.layer3(self.layer2(self.layer1(self.layer0(image))))
        x = self.layer4(middle)
        x = torch.cat([x, *(up(f(x), x.shape[2:]) for f in self.ppm.features)], dim=1)
        return up(self.cls(x), image.shape[2:]), up(self.aux(middle), image.shape[2:])

    def load(self, variables):
        """Loads the variables of jaxseg's network; each one must have a counterpart here."""
        return _load(self, variables, self.place)

    def place(self, path):
        """Our names of the convolution and the batch norm at jaxseg's `path`."""
        name, *rest = path
        if name == "backbone" and len(rest) == 1:  # conv1, conv2, conv3
            i = 3 * (int(rest[0][-1]) - 1)
            return f"layer0.{i}", f"layer0.{i + 1}"
        if name == "backbone":
            return _block(*rest)
        if name.startswith("level"):
            i = [f[0].output_size for f in self.ppm.features].index(int(name[5:]))
            return f"ppm.features.{i}.1", f"ppm.features.{i}.2"
        return _head({"head": "cls", "aux": "aux"}[name], rest)


class FCNResNet(nn.Module):
    """torchvision's FCN; images and logits are [N, C, H, W]."""

    def __init__(self, num_classes, depth=50, width=1.0, output_stride=8):
        super().__init__()
        stem = round(64 * width)
        self.backbone = nn.Module()
        self.backbone.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.backbone.bn1 = nn.BatchNorm2d(stem)
        trunk = stages(BLOCKS[depth], TORCHVISION[output_stride], stem, width, "3x3")
        for i, stage in enumerate(trunk, 1):
            self.backbone.add_module(f"layer{i}", stage)

        def head(inputs):
            return nn.Sequential(
                *conv_bn_relu(inputs, inputs // 4, 3),
                nn.Dropout(0),
                nn.Conv2d(inputs // 4, num_classes, 1),
            )

        self.classifier = head(4 * round(512 * width))
        self.aux_classifier = head(4 * round(256 * width))

    def main_aux(self, image):
        b = self.backbone
        x = F.max_pool2d(F.relu(b.bn1(b.conv1(image))), 3, 2, 1)
        middle = b.layer3(b.layer2(b.layer1(x)))
        scores = self.classifier(b.layer4(middle)), self.aux_classifier(middle)
        return tuple(
            F.interpolate(s, image.shape[2:], mode="bilinear", align_corners=False) for s in scores
        )

    def load(self, variables):
        """Loads the variables of jaxseg's network; each one must have a counterpart here."""
        return _load(self, variables, self.place)

    def place(self, path):
        """Our names of the convolution and the batch norm at jaxseg's `path`."""
        name, *rest = path
        if name == "backbone" and len(rest) == 1:
            return "backbone.conv1", "backbone.bn1"
        if name == "backbone":
            return tuple(f"backbone.{n}" for n in _block(*rest))
        return _head({"head": "classifier", "aux": "aux_classifier"}[name], rest)


def _block(block, layer):
    """Maps e.g. layer3_block2, conv1 to layer3.1.conv1 and layer3.1.bn1."""
    stage, number = block.split("_block")
    at = f"{stage}.{int(number) - 1}."
    if layer == "project":
        return at + "downsample.0", at + "downsample.1"
    return at + layer, at + layer.replace("conv", "bn")


def _head(name, rest):
    return (f"{name}.0", f"{name}.1") if rest == ["conv"] else (f"{name}.4", None)


def _load(module, variables, place):
    state = {}

    def walk(params, stats, path):
        if "kernel" not in params:
            for name in params:
                walk(params[name], stats.get(name, {}), (*path, name))
            return
        conv, norm = place(path)
        state[f"{conv}.weight"] = np.transpose(params["kernel"], (3, 2, 0, 1))
        if "bias" in params:
            state[f"{conv}.bias"] = params["bias"]
        if "bn" in params:
            state[f"{norm}.weight"], state[f"{norm}.bias"] = (
                params["bn"]["scale"],
                params["bn"]["bias"],
            )
            state[f"{norm}.running_mean"] = stats["bn"]["mean"]
            state[f"{norm}.running_var"] = stats["bn"]["var"]
            state[f"{norm}.num_batches_tracked"] = np.array(0)

    walk(variables["params"], variables["batch_stats"], ())
    module.load_state_dict({k: torch.tensor(np.array(v)) for k, v in state.items()})
    return module.eval()
