"""FCN on VGG16 in PyTorch, written from the released layer tables, independent of jaxseg."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install '.[torch]'")
nn, F = torch.nn, torch.nn.functional

TRUNK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SAME = {8: (16, 4), 16: (32, 8), 32: (64, 16)}  # stride: kernel and padding of the last upsampling
RELEASED = {8: (16, 31), 16: (32, 27), 32: (64, 19)}  # stride: kernel and crop offset


def upsample_filt(k):
    factor = (k + 1) // 2
    centre = factor - 1 if k % 2 == 1 else factor - 0.5
    og = np.ogrid[:k, :k]
    return (1 - abs(og[0] - centre) / factor) * (1 - abs(og[1] - centre) / factor)


def deconv(x, kernel, stride, padding=0):
    """Caffe's Deconvolution: a dense kernel with the bilinear filter on its diagonal."""
    c = x.shape[1]
    weight = torch.zeros(c, c, kernel, kernel)
    weight[range(c), range(c)] = torch.tensor(upsample_filt(kernel), dtype=torch.float32)
    return F.conv_transpose2d(x, weight, stride=stride, padding=padding)


def crop(x, reference, offset):
    h, w = reference.shape[2:]
    x = x[:, :, offset : offset + h, offset : offset + w]
    assert x.shape[2:] == reference.shape[2:]
    return x


class FCN(nn.Module):
    """Images and logits are [N, C, H, W].

    With `released`, the image is padded by 100 and fc6 does not pad; else every layer keeps its
    size (conv1_1 pads by 1, fc6 by 3), and upsampled maps are centred and cropped to the finer map.
    """

    def __init__(self, num_classes, width, fc, stride=8, batch_norm=False, released=True):
        super().__init__()
        self.stride, self.released = stride, released
        self.convs, self.norms, self.scores = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()

        def add(name, inputs, outputs, kernel, padding):
            self.convs[name] = nn.Conv2d(inputs, outputs, kernel, padding=padding)
            self.norms[name] = nn.BatchNorm2d(outputs) if batch_norm else nn.Identity()
            return outputs

        channels, depth = 3, {}
        for b, block in enumerate(TRUNK, 1):
            for i, outputs in enumerate(block, 1):
                first = 100 if released and (b, i) == (1, 1) else 1
                channels = add(f"conv{b}_{i}", channels, round(outputs * width), 3, first)
            depth[b] = channels
        channels = add("fc6", channels, fc, 7, 0 if released else 3)
        channels = add("fc7", channels, fc, 1, 0)
        self.scores["score_fr"] = nn.Conv2d(channels, num_classes, 1)
        if stride <= 16:
            self.scores["score_pool4"] = nn.Conv2d(depth[4], num_classes, 1)
        if stride <= 8:
            self.scores["score_pool3"] = nn.Conv2d(depth[3], num_classes, 1)

    def layer(self, name, x):
        return F.relu(self.norms[name](self.convs[name](x)))

    def forward(self, image):
        x, pools = image, {}
        for b, block in enumerate(TRUNK, 1):
            for i in range(1, len(block) + 1):
                x = self.layer(f"conv{b}_{i}", x)
            pools[b] = x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        x = self.layer("fc7", self.layer("fc6", x))
        x = self.scores["score_fr"](x)
        for stride, pool, offset in ((16, 4, 5), (8, 3, 9)):
            if self.stride <= stride:
                skip = self.scores[f"score_pool{pool}"](pools[pool])
                if self.released:
                    x = deconv(x, 4, 2)
                    x = x + crop(skip, x, offset)
                else:
                    x = crop(deconv(x, 4, 2, padding=1), skip, 0) + skip
        if self.released:
            kernel, offset = RELEASED[self.stride]
            return crop(deconv(x, kernel, self.stride), image, offset)
        kernel, padding = SAME[self.stride]
        return crop(deconv(x, kernel, self.stride, padding=padding), image, 0)

    def load(self, variables):
        """Loads the variables of jaxseg's network; each one must have a counterpart here."""
        params, stats = variables["params"], variables.get("batch_stats", {})
        state = {}
        for name, p in params.items():
            group = "scores" if name.startswith("score") else "convs"
            state[f"{group}.{name}.weight"] = np.transpose(p["kernel"], (3, 2, 0, 1))
            state[f"{group}.{name}.bias"] = p["bias"]
            if "bn" in p:
                state[f"norms.{name}.weight"] = p["bn"]["scale"]
                state[f"norms.{name}.bias"] = p["bn"]["bias"]
                state[f"norms.{name}.running_mean"] = stats[name]["bn"]["mean"]
                state[f"norms.{name}.running_var"] = stats[name]["bn"]["var"]
                state[f"norms.{name}.num_batches_tracked"] = np.array(0)
        self.load_state_dict({k: torch.tensor(np.array(v)) for k, v in state.items()})
        return self.eval()
