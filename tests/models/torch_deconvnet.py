"""DeconvNet in PyTorch, written from the released layer table, independent of jaxseg."""

from against_torch import F, Layers, nn

# name, output channels; in the mirrored half, the last layer of a block reduces the channels
TABLE = """
    conv1_1 64, conv1_2 64, pool1
    conv2_1 128, conv2_2 128, pool2
    conv3_1 256, conv3_2 256, conv3_3 256, pool3
    conv4_1 512, conv4_2 512, conv4_3 512, pool4
    conv5_1 512, conv5_2 512, conv5_3 512, pool5
    fc6 4096, fc7 4096, fc6_deconv 512
    unpool5, deconv5_1 512, deconv5_2 512, deconv5_3 512
    unpool4, deconv4_1 512, deconv4_2 512, deconv4_3 256
    unpool3, deconv3_1 256, deconv3_2 256, deconv3_3 128
    unpool2, deconv2_1 128, deconv2_2 64
    unpool1, deconv1_1 64, deconv1_2 64
"""


class DeconvNet(Layers):
    """Images and logits are [N, C, H, W]."""

    def __init__(self, num_classes, width, fc_kernel=7):
        super().__init__()
        self.steps = [step.split() for step in TABLE.replace("\n", ",").split(",") if step.strip()]
        channels = 3
        for name, *outputs in self.steps:
            if not outputs:
                continue
            kernel = fc_kernel if name in ("fc6", "fc6_deconv") else 1 if name == "fc7" else 3
            make = nn.ConvTranspose2d if "deconv" in name else nn.Conv2d
            padding = 1 if kernel == 3 and not name.startswith("fc") else 0
            layer = make(channels, round(int(outputs[0]) * width), kernel, padding=padding)
            channels = self.add(name, layer, batch_norm=True, eps=1e-9)
        self.add("score", nn.Conv2d(channels, num_classes, 1))

    def forward(self, x):
        switches = {}
        for name, *_ in self.steps:
            if name.startswith("pool"):
                size = x.shape[2:]
                x, where = F.max_pool2d(x, 2, 2, return_indices=True)
                switches[name[4:]] = where, size
            elif name.startswith("unpool"):
                where, size = switches[name[6:]]
                x = F.max_unpool2d(x, where, 2, 2, output_size=size)
            else:
                x = self.run(name, x)
        return self.convs["score"](x)
