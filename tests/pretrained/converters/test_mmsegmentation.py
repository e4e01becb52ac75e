"""mmsegmentation's files, by its own networks if it is installed, else by a copy of their graph."""

import pathlib

import pytest
from torch_state import (
    SIZES,
    FullSize,
    assert_close,
    assert_same_logits,
    on_meta,
    photographs,
    randomized,
    save,
    shapes,
    standardized,
    torch,
)

import jaxseg
from jaxseg import pretrained
from jaxseg.errors import InputError

torch_mmseg = pytest.importorskip("torch_mmseg")

CLASSES = 5
slow = pytest.mark.slow
FIELDS = {
    "psp": {"stem": "v1c", "dilate_first": False, "align_corners": False},
    "fcn": {"stem": "v1c", "head_convs": 2, "concat_input": True},
}
NAMES = {"psp": "pspnet_resnet50", "fcn": "fcn_resnet50"}
PUBLISHED = {"psp": "pspnet_r50-d8.py", "fcn": "fcn_r50-d8.py"}


def peer(head, classes=CLASSES, depth=50, channels=64, stem="v1c", align_corners=False, d6=False):
    """A network from mmsegmentation's own config; `channels` is the trunk's first width."""
    import peers

    peers.mmseg()
    import mmseg.models  # registers its layers
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    init_default_scope("mmseg")
    configs = pathlib.Path(mmseg.__file__).parent / ".mim" / "configs" / "_base_" / "models"
    config = Config.fromfile(configs / PUBLISHED[head]).model
    config.pretrained = None
    config.backbone.update(depth=depth, base_channels=channels, stem_channels=channels)
    if stem == "7x7":
        config.backbone.type = "ResNet"
    config.decode_head.update(in_channels=32 * channels, channels=8 * channels)
    config.auxiliary_head.update(in_channels=16 * channels, channels=4 * channels)
    for part in (config.decode_head, config.auxiliary_head):
        part.update(num_classes=classes, align_corners=align_corners)
        if d6:
            part.dilation = 6
    if d6:
        config.backbone.update(dilations=(1, 1, 1, 2), strides=(1, 2, 2, 1))
    for part in (config.backbone, config.decode_head, config.auxiliary_head):
        part.norm_cfg.type = "BN"  # SyncBN needs several devices
    return MODELS.build(config)


def logits(network):
    """Returns a function from [N, 3, H, W] to the logits at the image's size."""
    if hasattr(network, "main_aux"):
        return lambda x: network.main_aux(x)[0]
    return lambda x: network.encode_decode(x, [{"img_shape": tuple(x.shape[2:])}])


def network(reference, head, **fields):
    if reference == "mmseg":
        return randomized(peer(head, channels=8, **fields))
    depth = fields.pop("depth", 26)
    if fields.pop("d6", False):
        fields |= {"head_dilation": 6, "output_stride": 16}
    return randomized(torch_mmseg.MMSeg(head, CLASSES, depth, 0.125, **fields))


@slow
@pytest.mark.parametrize("reference", ["graph", "mmseg"])
@pytest.mark.parametrize(
    ("head", "kind", "fields"),
    [
        ("psp", "mmengine", {}),
        ("psp", "safetensors", {"stem": "7x7"}),
        ("fcn", "mmengine", {}),
        ("fcn", "legacy", {"stem": "7x7"}),
    ],
)
def test_logits_are_those_of_mmsegmentation(tmp_path, reference, head, kind, fields):
    other = network(reference, head, **fields)
    path = save(tmp_path / "iter_80000.pth", other.state_dict(), kind)
    depth = 50 if reference == "mmseg" else 26
    fields = {**FIELDS[head], **fields, "depth": depth, "width": 0.125}
    model = jaxseg.create_model(NAMES[head], CLASSES, **fields)
    assert pretrained.suggest(path).create(width=0.125) == model
    variables, report = pretrained.load(model, path)
    assert report.title == "mmsegmentation's PSPNet or FCN" and not report.kept
    assert all(name.endswith("num_batches_tracked") for name in report.unused)
    assert_same_logits(model, variables, logits(other))


D6 = {"output_stride": 16, "head_dilation": 6}


@slow
@pytest.mark.parametrize("reference", ["graph", "mmseg"])
@pytest.mark.parametrize(
    ("head", "source", "align_corners", "more"),
    [
        ("psp", "mmseg_769x769", True, {}),
        ("fcn", "mmseg_769x769", True, {}),
        ("fcn", "mmseg_d6", False, D6),
        ("fcn", "mmseg_d6-769x769", True, D6),
    ],
)
def test_networks_known_by_name_alone(tmp_path, reference, head, source, align_corners, more):
    """They resize with aligned corners or have dilated heads; no file records that."""
    other = network(reference, head, align_corners=align_corners, d6=bool(more))
    path = save(tmp_path / "weights.pth", other.state_dict(), "mmengine")
    fields = FIELDS[head] | {"depth": 50 if reference == "mmseg" else 26, "width": 0.125}
    fields |= {"align_corners": align_corners} | more
    model = jaxseg.create_model(NAMES[head], CLASSES, **fields)
    with pytest.raises(InputError, match="align_corners is True|output_stride is 16"):
        pretrained.load(model, path)
    variables, _ = pretrained.load(model, path, source=source)
    assert_same_logits(model, variables, logits(other))


@slow
@pytest.mark.parametrize("head", ["psp", "fcn"])
def test_both_heads_train_as_in_mmsegmentation(tmp_path, head):
    """Normalized by the batch's statistics; includes the auxiliary head."""
    other = network("graph", head).train()
    path = save(tmp_path / "iter_80000.pth", other.state_dict(), "mmengine")
    model = pretrained.suggest(path).create(width=0.125, dropout=0.0)
    variables = pretrained.load_pretrained(model, path)
    rgb = photographs((65, 73), n=4)
    heads, _ = model.apply(
        variables,
        jaxseg.normalize(rgb, model.preprocessing),
        train=True,
        method="heads",
        mutable=["batch_stats"],
    )
    for ours, want in zip(heads, other.main_aux(standardized(rgb)), strict=True):
        assert_close(ours.upsampled(), want, 1e-3)


@pytest.mark.nightly  # the published width takes long to compile
@pytest.mark.parametrize("head", ["psp", "fcn"])
def test_full_width(tmp_path, head):
    other = randomized(torch_mmseg.MMSeg(head, 19, 50))
    path = save(tmp_path / "iter_80000.pth", other.state_dict(), "mmengine")
    model = pretrained.suggest(path).create()
    variables = pretrained.load_pretrained(model, path)
    assert_same_logits(model, variables, logits(other), sizes=[(97, 65)])


@pytest.mark.parametrize("head", [pytest.param("psp", marks=slow), "fcn"])
@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=slow)])
def test_every_tensor_of_the_published_files(head, depth):
    full = FullSize(shapes(on_meta(torch_mmseg.MMSeg, head, 19, depth)))
    name = NAMES[head].replace("50", str(depth))
    assert (full.source, full.fit.model, full.fit.num_classes) == ("mmseg", name, 19)
    assert full.fit.needed() == FIELDS[head]
    assert not full.kept
    assert {name.split(".")[-1] for name in full.unused} == {"num_batches_tracked"}


@slow
@pytest.mark.parametrize("stem", ["v1c", "7x7"])
@pytest.mark.parametrize("head", ["psp", "fcn"])
@pytest.mark.parametrize("depth", [50, 101])
def test_names_and_shapes_are_those_of_mmsegmentation(head, depth, stem):
    want = shapes(on_meta(peer, head, 19, depth, stem=stem))
    got = shapes(on_meta(torch_mmseg.MMSeg, head, 19, depth, stem=stem))
    assert got == want
    if (head, depth, stem) == ("psp", 50, "v1c"):
        assert len(got) == 370


@slow
def test_file_without_the_auxiliary_head(tmp_path):
    other = network("graph", "fcn")
    state = {n: t for n, t in other.state_dict().items() if not n.startswith("auxiliary")}
    path = save(tmp_path / "fcn.pth", state)
    model = jaxseg.create_model("fcn_resnet50", CLASSES, depth=26, width=0.125, **FIELDS["fcn"])
    variables, report = pretrained.load(model, path)
    assert set(report.kept.values()) == {"the file has no auxiliary head"}
    assert_same_logits(model, variables, logits(other))


def test_other_heads_are_unknown(tmp_path):
    """Many of them have all tensors of an FCN's head, and more in between."""
    state = torch_mmseg.MMSeg("fcn", CLASSES, 26, 0.02).state_dict()
    attention = state | {"decode_head.nonlocal_block.g.conv.weight": torch.ones(2, 2, 1, 1)}
    with pytest.raises(InputError, match="match none of the files"):
        pretrained.suggest(save(tmp_path / "nonlocal.pth", attention))
    path = save(tmp_path / "fcn.pth", state)
    model = jaxseg.create_model("fcn_resnet50", CLASSES, depth=26, stem="v1c")
    with pytest.raises(InputError, match="head_convs is 1, concat_input is False") as caught:
        pretrained.load(model, path)
    call = "jaxseg.create_model('fcn_resnet50', num_classes=5, depth=26, stem='v1c', head_convs=2"
    assert call in caught.value.remedy


def test_logits_of_a_shallow_network(tmp_path):
    other = network("graph", "fcn", depth=14)
    path = save(tmp_path / "fcn.pth", other.state_dict(), "mmengine")
    model = pretrained.suggest(path).create(width=0.125)
    variables = pretrained.load_pretrained(model, path)
    assert_same_logits(model, variables, logits(other), sizes=SIZES[:1])


SOURCES = {  # keyed by align_corners and the heads' dilation
    (False, 1): "mmseg",
    (True, 1): "mmseg_769x769",
    (False, 6): "mmseg_d6",
    (True, 6): "mmseg_d6-769x769",
}


@pytest.mark.nightly
@pytest.mark.parametrize(("collection", "files"), [("fcn", 41), ("pspnet", 54)])
def test_every_published_file(collection, files):
    """The source of each file requires the network that mmsegmentation's config describes."""
    import peers

    peers.mmseg()
    import mmseg
    import yaml
    from mmengine.config import Config

    root = pathlib.Path(mmseg.__file__).parent / ".mim"
    entries = yaml.safe_load((root / "configs" / collection / "metafile.yaml").read_text())
    configs = [Config.fromfile(root / entry["Config"]).model for entry in entries["Models"]]
    assert len(configs) == files
    trunks = {
        ((1, 2, 1, 1), (1, 1, 2, 4)): {"output_stride": 8},
        ((1, 2, 2, 1), (1, 1, 1, 2)): {"output_stride": 16},
        ((1, 2, 2, 2), (1, 1, 2, 4)): {"dilations": (1, 1, 2, 4)},
    }
    for config in configs:
        backbone, head = config.backbone, config.decode_head
        dilation = head.get("dilation", 1)
        trunk = tuple(backbone.strides), tuple(backbone.dilations)
        assert backbone.contract_dilation and backbone.style == "pytorch"
        assert config.auxiliary_head.get("dilation", 1) == dilation
        kind = {"PSPHead": "psp", "FCNHead": "fcn"}[head.type]
        stem = {"ResNetV1c": "v1c", "ResNet": "7x7"}[backbone.type]
        made = {"head": kind, "depth": backbone.depth, "stem": stem, "trunk": trunk}
        theirs = shapes(on_meta(torch_mmseg.MMSeg, num_classes=head.num_classes, **made))
        d32 = "dilations" in trunks[trunk]
        source = "mmseg_d32" if d32 else SOURCES[head.align_corners, dilation]
        full = FullSize(theirs, source)
        assert not full.kept and full.fit.num_classes == head.num_classes
        want = {"stem": stem, "align_corners": head.align_corners, "depth": backbone.depth}
        want |= trunks[trunk]
        if kind == "fcn":
            want |= {"head_convs": head.num_convs, "concat_input": head.concat_input}
            want["head_dilation"] = dilation
        assert {field: full.fit.fields[field] for field in want} == want


@slow
@pytest.mark.parametrize("head", ["psp", "fcn"])
def test_a_shallow_network_has_the_names_of_mmsegmentation(head):
    want = on_meta(peer, head, 19, 18)
    got = shapes(on_meta(torch_mmseg.MMSeg, head, 19, 18))
    trunk = {n: s for n, s in shapes(want).items() if n.startswith("backbone.")}
    assert trunk == {n: s for n, s in got.items() if n.startswith("backbone.")}
