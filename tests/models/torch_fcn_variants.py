"""The other FCNs in PyTorch, written from the released layer tables, independent of jaxseg."""

from against_torch import F, Layers, nn, torch
from torch_fcn import TRUNK, crop, deconv


def lrn(x):
    return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)


def pool(x):
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


class FCN8s(Layers):
    """Released FCN-8s, with optional learned deconvolutions before the fusions and scaled pools."""

    def __init__(self, num_classes, width, fc, scales=(1, 1), learned=False):
        super().__init__()
        self.scales, self.learned = scales, learned
        channels, depth = 3, []
        for b, block in enumerate(TRUNK, 1):
            for i, outputs in enumerate(block, 1):
                padding = 100 if (b, i) == (1, 1) else 1
                layer = nn.Conv2d(channels, round(outputs * width), 3, padding=padding)
                channels = self.add(f"conv{b}_{i}", layer)
            depth.append(channels)
        self.add("fc6", nn.Conv2d(channels, fc, 7))
        self.add("fc7", nn.Conv2d(fc, fc, 1))
        self.add("score_fr", nn.Conv2d(fc, num_classes, 1))
        self.add("score_pool4", nn.Conv2d(depth[3], num_classes, 1))
        self.add("score_pool3", nn.Conv2d(depth[2], num_classes, 1))
        for name in ("upscore2", "upscore_pool4") if learned else ():
            self.add(name, nn.ConvTranspose2d(num_classes, num_classes, 4, 2, bias=False))

    def up(self, name, x):
        return self.convs[name](x) if self.learned else deconv(x, 4, 2)

    def forward(self, image):
        x, pools = image, []
        for b, block in enumerate(TRUNK, 1):
            for i in range(1, len(block) + 1):
                x = self.run(f"conv{b}_{i}", x)
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            pools.append(x)
        x = self.convs["score_fr"](self.run("fc7", self.run("fc6", x)))
        x = self.up("upscore2", x)
        x = x + crop(self.convs["score_pool4"](pools[3] * self.scales[0]), x, 5)
        x = self.up("upscore_pool4", x)
        x = x + crop(self.convs["score_pool3"](pools[2] * self.scales[1]), x, 9)
        return crop(deconv(x, 16, 8), image, 31)


class AlexNet(Layers):
    """`channels` lists those of conv1 to conv5, then of fc6 and fc7."""

    def __init__(self, num_classes, channels, batch_norm=False):
        super().__init__()
        c1, c2, c3, c4, c5, fc = channels
        self.add("conv1", nn.Conv2d(3, c1, 11, stride=4, padding=100), batch_norm)
        self.add("conv2", nn.Conv2d(c1, c2, 5, padding=2, groups=2), batch_norm)
        self.add("conv3", nn.Conv2d(c2, c3, 3, padding=1), batch_norm)
        self.add("conv4", nn.Conv2d(c3, c4, 3, padding=1, groups=2), batch_norm)
        self.add("conv5", nn.Conv2d(c4, c5, 3, padding=1, groups=2), batch_norm)
        self.add("fc6", nn.Conv2d(c5, fc, 6), batch_norm)
        self.add("fc7", nn.Conv2d(fc, fc, 1), batch_norm)
        self.add("score_fr", nn.Conv2d(fc, num_classes, 1))

    def forward(self, image):
        x = lrn(pool(self.run("conv1", image)))
        x = lrn(pool(self.run("conv2", x)))
        x = self.run("conv5", self.run("conv4", self.run("conv3", x)))
        x = self.run("fc7", self.run("fc6", pool(x)))
        return crop(deconv(self.convs["score_fr"](x), 63, 32), image, 18)


class GoogLeNet(Layers):
    """As Caffe's bvlc_googlenet up to inception 5b, at a fraction `width` of its channels."""

    TABLE = """
        3a 64 96 128 16 32 32
        3b 128 128 192 32 96 64
        4a 192 96 208 16 48 64
        4b 160 112 224 24 64 64
        4c 128 128 256 24 64 64
        4d 112 144 288 32 64 64
        4e 256 160 320 32 128 128
        5a 256 160 320 32 128 128
        5b 384 192 384 48 128 128
    """

    def __init__(self, num_classes, width, batch_norm=False):
        super().__init__()

        def conv(name, inputs, outputs, kernel, stride=1, padding=0):
            layer = nn.Conv2d(inputs, max(1, round(outputs * width)), kernel, stride, padding)
            return self.add(name, layer, batch_norm)

        c = conv("conv1", 3, 64, 7, 2, 3)
        c = conv("conv2_reduce", c, 64, 1)
        c = conv("conv2", c, 192, 3, padding=1)
        self.modules_in_order = []
        for line in self.TABLE.strip().splitlines():
            name, *widths = line.split()
            one, reduce3, three, reduce5, five, projection = map(int, widths)
            at = f"inception_{name}"
            out = conv(f"{at}/1x1", c, one, 1)
            out += conv(f"{at}/3x3", conv(f"{at}/3x3_reduce", c, reduce3, 1), three, 3, padding=1)
            out += conv(f"{at}/5x5", conv(f"{at}/5x5_reduce", c, reduce5, 1), five, 5, padding=2)
            out += conv(f"{at}/pool_proj", c, projection, 1)
            c = out
            self.modules_in_order.append(at)
        self.add("score_fr", nn.Conv2d(c, num_classes, 1))

    def inception(self, at, x):
        return torch.cat(
            [
                self.run(f"{at}/1x1", x),
                self.run(f"{at}/3x3", self.run(f"{at}/3x3_reduce", x)),
                self.run(f"{at}/5x5", self.run(f"{at}/5x5_reduce", x)),
                self.run(f"{at}/pool_proj", F.max_pool2d(x, 3, 1, 1)),
            ],
            dim=1,
        )

    def forward(self, image):
        x = lrn(pool(self.run("conv1", image)))
        x = pool(lrn(self.run("conv2", self.run("conv2_reduce", x))))
        for at in self.modules_in_order:
            x = self.inception(at, x)
            if at in ("inception_3b", "inception_4e"):
                x = pool(x)
        return crop(deconv(self.convs["score_fr"](x), 63, 32), image, 1)
