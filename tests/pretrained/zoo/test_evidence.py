"""Each row for mmsegmentation: its network in PyTorch, saved like its file, loaded by name.

`published.jsonl` has the facts from mmsegmentation's own configuration of each checkpoint. Networks
are narrow here; `test_every_published_file` in
tests/pretrained/converters/test_mmsegmentation.py compares names, shapes and strides at full width.
"""

import collections
import dataclasses
import hashlib
import json
import pathlib

import numpy as np
import pytest
from file_server import serving
from torch_state import assert_close, photographs, randomized, save, standardized, torch

import jaxseg
from jaxseg.pretrained.zoo import names
from jaxseg.pretrained.zoo.rows import list_pretrained

torch_mmseg = pytest.importorskip("torch_mmseg")

WIDTH = 1 / 16
FACTS = [
    json.loads(line)
    for line in pathlib.Path(__file__).with_name("published.jsonl").read_text().splitlines()
]
ROWS = {row.file: row for row in list_pretrained() if row.source == "mmsegmentation"}


def _architecture(facts):
    """All facts except the depth of deep networks, the classes and the data."""
    left = ("file", "num_classes", "classes")
    key = {k: str(v) for k, v in facts.items() if k not in left}
    return tuple((key | {"depth": "18" if facts["depth"] == 18 else "deep"}).values())


def _tier(index, facts):
    """Marks the first of each architecture as slow, the others as nightly."""
    first = next(i for i, f in enumerate(FACTS) if _architecture(f) == _architecture(facts))
    return (pytest.mark.slow,) if index == first else (pytest.mark.nightly,)


def torch_network(facts):
    head = {"pspnet": "psp", "fcn": "fcn"}[facts["architecture"]]
    longer = {}
    if head == "fcn":
        longer = {k: facts[k] for k in ("head_convs", "concat_input", "head_dilation")}
    network = torch_mmseg.MMSeg(
        head,
        facts["num_classes"],
        facts["depth"],
        WIDTH,
        stem=facts["stem"],
        align_corners=facts["align_corners"],
        trunk=(facts["strides"], facts["dilations"]),
        **longer,
    )
    return randomized(network, seed=facts["depth"])


def loaded_by_name(row, other, tmp_path, monkeypatch, **fields):
    """The network of a row, from a file server with `other`'s weights under the row's name."""
    folder = tmp_path / "served"
    folder.mkdir()
    save(folder / row.file, other.state_dict(), "mmengine")
    start = hashlib.sha256((folder / row.file).read_bytes()).hexdigest()[:8]
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "cache"))
    with serving(folder) as (url, _, _):
        served = dataclasses.replace(
            row,
            fields={**row.fields, **fields},
            checksum=f"sha256:{start}",
            url=f"{url}/{row.file}",
        )
        monkeypatch.setattr(names, "find", {row.name: served}.get)
        return jaxseg.load(row.name)


@pytest.mark.parametrize(
    "facts",
    [pytest.param(f, id=f["file"], marks=_tier(i, f)) for i, f in enumerate(FACTS)],
)
def test_the_network_of_a_row_is_the_published_one(facts, tmp_path, monkeypatch):
    other = torch_network(facts)
    row = ROWS[facts["file"]]
    network = loaded_by_name(row, other, tmp_path, monkeypatch, width=WIDTH)
    expected = jaxseg.create_model(row.network, facts["num_classes"], width=WIDTH, **row.fields)
    assert network.model == expected
    rgb = photographs((57, 73))
    with torch.no_grad():
        want = other.main_aux(standardized(rgb))[0]
    images = jaxseg.normalize(rgb, network.model.preprocessing)
    assert_close(np.asarray(network.model.apply(network.variables, images)), want)
    assert network.classes == row.classes and network.card["licence"] == row.licence


# ResNet-18, 50 and 101; both stems; output strides 8, 16 and 32; aligned corners; FP16; RSB weights
FULL_WIDTH = (
    "pspnet_r18-d8_512x1024_80k_cityscapes",
    "pspnet_r50-d8_512x512_160k_ade20k",
    "pspnet_r101-d8_512x512_40k_voc12aug",
    "pspnet_r50-d8_769x769_80k_cityscapes",
    "pspnet_r50b-d8_512x1024_80k_cityscapes",
    "pspnet_r50-d32_rsb-pretrain_512x1024_adamw_80k_cityscapes",
    "pspnet_r101-d8_fp16_512x1024_80k_cityscapes",
    "fcn_r50-d8_512x512_80k_ade20k",
    "fcn_r101b-d8_769x769_80k_cityscapes",
    "fcn_d6_r50-d16_769x769_80k_cityscapes",
)


@pytest.mark.nightly
@pytest.mark.parametrize("name", FULL_WIDTH)
def test_at_full_width_the_network_is_mmsegmentations_own(name, tmp_path, monkeypatch):
    import peers

    peers.mmseg()
    import mmseg
    import mmseg.models  # registers its layers
    import yaml
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    (row,) = [row for row in ROWS.values() if row.file.startswith(f"{name}_20")]
    init_default_scope("mmseg")
    root = pathlib.Path(mmseg.__file__).parent / ".mim"
    collection = root / "configs" / name.partition("_")[0] / "metafile.yaml"
    models = yaml.safe_load(collection.read_text())["Models"]
    (entry,) = [entry for entry in models if entry["Weights"].endswith(f"/{row.file}")]
    config = Config.fromfile(root / entry["Config"]).model
    config.pretrained = config.backbone.init_cfg = config.data_preprocessor = None
    for part in (config.backbone, config.decode_head, config.auxiliary_head):
        part.norm_cfg.type = "BN"  # SyncBN needs several devices
    other = randomized(MODELS.build(config))
    network = loaded_by_name(row, other, tmp_path, monkeypatch)
    rgb = photographs((65, 81))
    with torch.no_grad():
        want = other.encode_decode(standardized(rgb), [{"img_shape": (65, 81)}])
    images = jaxseg.normalize(rgb, network.model.preprocessing)
    assert_close(np.asarray(network.model.apply(network.variables, images)), want)


def test_every_checkpoint_has_a_row():
    assert len(FACTS) == 95 and ROWS.keys() == {facts["file"] for facts in FACTS}
    for facts in FACTS:
        row = ROWS[facts["file"]]
        assert row.num_classes == facts["num_classes"] == len(row.palette)
        assert row.file.endswith(f"-{row.checksum.partition(':')[2]}.pth")
        assert row.url.endswith(f"/{row.file}") and row.url.startswith("https://")
        assert row.network == f"{facts['architecture']}_resnet{facts['depth']}"


def test_the_best_of_several_has_the_plain_name():
    best = collections.defaultdict(list)
    for row in ROWS.values():
        long = next(iter(row.aliases), row.name)
        best["_".join(long.split("_")[: 3 if "_d" not in long[:11] else 4])].append(row)
    for short, rows in best.items():
        (plain,) = [row for row in rows if row.name == short]
        assert plain.mean_iou == max(row.mean_iou for row in rows)
