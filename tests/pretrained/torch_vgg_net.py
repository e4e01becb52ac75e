"""VGG16 in PyTorch with torchvision's names, written from its layer table."""

from torch_state import torch

nn, F = torch.nn, torch.nn.functional
TRUNK = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def classifier(channels, hidden, classes):
    return nn.Sequential(
        nn.Linear(channels * 7 * 7, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, classes),
    )


class VGG16(nn.Module):
    def __init__(self, width=1.0, hidden=4096, classes=1000, batch_norm=False):
        super().__init__()
        layers, channels = [], 3
        for block in TRUNK:
            for outputs in (round(c * width) for c in block):
                layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
                layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
                layers.append(nn.ReLU())
                channels = outputs
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = classifier(channels, hidden, classes)

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


def last_map(network, image):
    """The last pooling's map, where poolings round up as FCN's do."""
    x = image
    for layer in network.features:
        pools = isinstance(layer, nn.MaxPool2d)
        x = F.max_pool2d(x, 2, 2, ceil_mode=True) if pools else layer(x)
    return x


def dense(network, image):
    """Scores of the window around each cell of the last map: the classifier as convolutions."""
    first, second, third = (la for la in network.classifier if isinstance(la, nn.Linear))
    weight = first.weight.view(len(first.weight), -1, 7, 7)
    x = F.conv2d(last_map(network, image), weight, first.bias, padding=3)
    x = F.conv2d(F.relu(x), second.weight[:, :, None, None], second.bias)
    return F.conv2d(F.relu(x), third.weight[:, :, None, None], third.bias)
