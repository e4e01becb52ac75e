"""A tiny network published on a local server under its own name in the zoo."""

import dataclasses
import hashlib

import pytest
from file_server import serving

from jaxseg.data import Scenes
from jaxseg.pretrained.zoo import rows
from jaxseg.pretrained.zoo.rows import Row


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """(row, server's folder): torchvision's FCN on a ResNet-18, at a sixteenth of its width."""
    torch_resnet = pytest.importorskip("torch_resnet")
    from torch_state import randomized, save

    info = Scenes(0, 1, (32, 32)).info
    other = randomized(_narrow_fcn(torch_resnet, info.num_classes))
    folder = tmp_path_factory.mktemp("published")
    path = save(folder / "tiny-fcn.pth", other.state_dict())
    row = Row(
        name="tiny_fcn_scenes",
        aliases=("tiny",),
        kind="network",
        network="fcn_resnet18",
        fields={"width": 1 / 16},
        data="scenes",
        classes=info.class_names,
        palette=info.palette,
        mean_iou=0.25,
        protocol={"fit": (96, 64)},
        parameters=1000,
        licence="research only",
        file=path.name,
        url="",
        checksum=f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}",
        source="tests",
        reader="torchvision_fcn-resnet",
    )
    return row, folder


def _narrow_fcn(torch_resnet, classes):
    nn = torch_resnet.nn
    network = torch_resnet.FCNResNet(classes, 50, 1 / 16)
    stem = 4
    layers = torch_resnet.basic_stages(
        torch_resnet.BASIC_BLOCKS[18], torch_resnet.TORCHVISION[8], stem, 1 / 16
    )
    for i, stage in enumerate(layers, 1):
        setattr(network.backbone, f"layer{i}", stage)

    def head(inputs):
        hidden = inputs // 4
        return nn.Sequential(
            *torch_resnet.conv_bn_relu(inputs, hidden, 3),
            nn.Dropout(0),
            nn.Conv2d(hidden, classes, 1),
        )

    network.classifier, network.aux_classifier = head(32), head(16)
    return network


@pytest.fixture
def zoo(published, tmp_path, monkeypatch):
    """The row, registered by its name, with an empty cache; and a list of the server's requests."""
    row, folder = published
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "cache"))
    for name in ("JAXSEG_OFFLINE", "JAXSEG_ZOO_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    with serving(folder) as (url, _, seen):
        row = dataclasses.replace(row, url=f"{url}/{row.file}")
        known = (row, *rows.rows())
        monkeypatch.setattr(rows, "rows", lambda: known)
        rows._by_name.cache_clear()
        yield row, seen
    rows._by_name.cache_clear()
