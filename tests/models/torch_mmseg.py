"""mmsegmentation's PSPNet and FCN in PyTorch, written from its configs and the names in its files.

Parameters are named as in those files.
"""

from torch_resnet import (
    BASIC_BLOCKS,
    BLOCKS,
    STEMS,
    TORCHVISION,
    F,
    _block,
    _load,
    basic_stages,
    conv,
    deep_stem,
    nn,
    stages,
    torch,
)


class ConvModule(nn.Module):
    """Convolution, batch norm and ReLU, called conv and bn."""

    def __init__(self, inputs, outputs, kernel, dilation=1):
        super().__init__()
        self.conv = conv(inputs, outputs, kernel, dilation=dilation)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Head(nn.Module):
    """A head that ends in `conv_seg`; a subclass makes the features before it."""

    def __init__(self, hidden, num_classes):
        super().__init__()
        self.conv_seg = nn.Conv2d(hidden, num_classes, 1)

    def forward(self, x):
        return self.conv_seg(self.hidden(x))


class FCNHead(Head):
    def __init__(self, inputs, hidden, num_classes, num_convs, concat_input, dilation):
        super().__init__(hidden, num_classes)
        widths = [inputs] + num_convs * [hidden]
        pairs = zip(widths, widths[1:], strict=False)
        self.convs = nn.Sequential(*(ConvModule(i, o, 3, dilation) for i, o in pairs))
        if concat_input:
            self.conv_cat = ConvModule(inputs + hidden, hidden, 3)

    def hidden(self, x):
        y = self.convs(x)
        return self.conv_cat(torch.cat([x, y], 1)) if hasattr(self, "conv_cat") else y


class PSPHead(Head):
    def __init__(self, inputs, hidden, num_classes, bins, align_corners):
        super().__init__(hidden, num_classes)
        self.align_corners = align_corners
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(b), ConvModule(inputs, hidden, 1)) for b in bins
        )
        self.bottleneck = ConvModule(inputs + len(bins) * hidden, hidden, 3)

    def hidden(self, x):
        levels = [
            F.interpolate(m(x), x.shape[2:], mode="bilinear", align_corners=self.align_corners)
            for m in self.psp_modules
        ]
        return self.bottleneck(torch.cat([x, *levels], 1))


class MMSeg(nn.Module):
    """Images and logits are [N, C, H, W]. `main_aux` gives both heads' logits, upsampled.

    `head` is "psp" or "fcn"; `stem` is "v1c" (ResNetV1c) or "7x7" (ResNet). `trunk` replaces
    `output_stride` by the strides and dilations of the stages; the first block of a dilated stage
    has half its dilation.
    """

    def __init__(
        self,
        head,
        num_classes,
        depth=50,
        width=1.0,
        output_stride=8,
        stem="v1c",
        align_corners=False,
        head_convs=2,
        concat_input=True,
        head_dilation=1,
        bins=(1, 2, 3, 6),
        trunk=None,
    ):
        super().__init__()
        self.align_corners = align_corners
        widths = [round(c * width) for c in STEMS[stem]]
        self.backbone = nn.Module()
        layers = deep_stem(widths)
        if stem == "7x7":
            self.backbone.conv1, self.backbone.bn1, _ = layers
        else:
            self.backbone.stem = nn.Sequential(*layers)
        table = TORCHVISION[output_stride]
        if trunk is not None:
            table = [(s, max(d // 2, 1), d) for s, d in zip(*trunk, strict=True)]
        if depth in BASIC_BLOCKS:
            layers, expansion = basic_stages(BASIC_BLOCKS[depth], table, widths[-1], width), 1
        else:
            layers, expansion = stages(BLOCKS[depth], table, widths[-1], width, "3x3"), 4
        for i, stage in enumerate(layers, 1):
            self.backbone.add_module(f"layer{i}", stage)
        last, middle = expansion * round(512 * width), expansion * round(256 * width)
        hidden = last // 4
        if head == "psp":
            self.decode_head = PSPHead(last, hidden, num_classes, bins, align_corners)
        else:
            self.decode_head = FCNHead(
                last, hidden, num_classes, head_convs, concat_input, head_dilation
            )
        aux = middle // 4
        self.auxiliary_head = FCNHead(middle, aux, num_classes, 1, False, head_dilation)

    def main_aux(self, image):
        b = self.backbone
        x = b.stem(image) if hasattr(b, "stem") else F.relu(b.bn1(b.conv1(image)))
        middle = b.layer3(b.layer2(b.layer1(F.max_pool2d(x, 3, 2, 1))))
        scores = self.decode_head(b.layer4(middle)), self.auxiliary_head(middle)
        return tuple(
            F.interpolate(s, image.shape[2:], mode="bilinear", align_corners=self.align_corners)
            for s in scores
        )

    def load(self, variables):
        """Loads the variables of jaxseg's network; each one must have a counterpart here."""
        return _load(self, variables, self.place)

    def place(self, path):
        """Our names of the convolution and the batch norm at jaxseg's `path`."""
        name, *rest = path
        if name == "backbone" and len(rest) == 1:
            if hasattr(self.backbone, "conv1"):
                return "backbone.conv1", "backbone.bn1"
            i = 3 * (int(rest[0][-1]) - 1)
            return f"backbone.stem.{i}", f"backbone.stem.{i + 1}"
        if name == "backbone":
            return tuple(f"backbone.{n}" for n in _block(*rest))
        if name.startswith("level"):
            bins = [m[0].output_size for m in self.decode_head.psp_modules]
            at = f"decode_head.psp_modules.{bins.index(int(name[5:]))}.1"
            return f"{at}.conv", f"{at}.bn"
        head = {"head": "decode_head", "aux": "auxiliary_head"}[name]
        if rest == ["score"]:
            return f"{head}.conv_seg", None
        if rest == ["conv"] and hasattr(getattr(self, head), "bottleneck"):
            at = f"{head}.bottleneck"
        elif rest == ["conv_concat"]:
            at = f"{head}.conv_cat"
        else:
            at = f"{head}.convs.{int(rest[0][4:] or 1) - 1}"
        return f"{at}.conv", f"{at}.bn"
