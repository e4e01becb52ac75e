"""VGG16s with torchvision's names, by torchvision if it is installed, else by a copy of its graph.

The classifier as convolutions gives, at 224×224, the logits of the original classifier.
"""

import functools

import jax
import numpy as np
import pytest
from torch_state import (
    SIZES,
    FullSize,
    assert_close,
    caffe_like,
    on_meta,
    photographs,
    randomized,
    save,
    shapes,
    standardized,
    torch,
)
from torch_vgg_net import TRUNK, VGG16, classifier, dense, last_map

import jaxseg
from jaxseg import pretrained
from jaxseg.errors import InputError

WIDTH, HIDDEN, CLASSES = 0.0625, 48, 11
slow = pytest.mark.slow
narrow = functools.partial(
    jaxseg.create_model,
    "fcn32s_vgg16",
    CLASSES,
    width=WIDTH,
    fc_channels=HIDDEN / WIDTH,
    padding=1,
)


def network(reference="graph", batch_norm=False):
    if reference == "graph":
        return randomized(VGG16(WIDTH, HIDDEN, CLASSES, batch_norm))
    import peers

    vgg = peers.torchvision().models.vgg
    widths = [entry for block in TRUNK for entry in (*(round(c * WIDTH) for c in block), "M")]
    other = vgg.VGG(vgg.make_layers(widths, batch_norm), init_weights=False)
    other.classifier = classifier(widths[-2], HIDDEN, CLASSES)
    return randomized(other)


def coarse(model, variables, rgb):
    """The scores before upsampling."""
    run = jax.jit(functools.partial(model.apply, method="heads"))
    return run(variables, jaxseg.normalize(rgb, model.preprocessing))[0].logits


def assert_same_scores(model, variables, other, prepare=standardized, sizes=SIZES):
    """Compares the scores at 224×224 with the classifier's, and windows at odd sizes."""
    rgb = photographs((224, 224))
    with torch.no_grad():
        want = other(prepare(rgb))
    got = coarse(model, variables, rgb)
    assert got.shape[1:3] == (7, 7)
    assert_close(got[:, 3:4, 3:4], want[:, :, None, None])
    for size in sizes:
        rgb = photographs(size)
        with torch.no_grad():
            want = dense(other, prepare(rgb))
        assert_close(coarse(model, variables, rgb), want)


@slow
@pytest.mark.parametrize("reference", ["graph", "torchvision"])
@pytest.mark.parametrize(
    ("batch_norm", "kind"),
    [(False, "zip"), (False, "legacy"), (True, "zip"), (True, "safetensors")],
)
def test_classifier_as_convolutions(tmp_path, reference, batch_norm, kind):
    other = network(reference, batch_norm)
    path = save(tmp_path / "vgg16.pth", other.state_dict(), kind)
    model = narrow(normalization="imagenet", norm="batch" if batch_norm else None)
    variables, report = pretrained.load(model, path)
    assert report.title == f"torchvision's VGG16{' with batch norm' * batch_norm}"
    assert not report.kept
    assert all(name.endswith("num_batches_tracked") for name in report.unused)
    assert ("no batch norm after fc6 and fc7" in str(report)) == batch_norm
    assert_same_scores(model, variables, other)


def test_classifiers_own_logits(tmp_path):
    other = network()
    path = save(tmp_path / "vgg16.pth", other.state_dict())
    model = narrow(normalization="imagenet")
    assert_same_scores(model, pretrained.load_pretrained(model, path), other, sizes=())


@slow
def test_copy_of_caffes_network(tmp_path):
    """It has torchvision's names but takes BGR, which the file does not record."""
    other = network()
    path = save(tmp_path / "vgg16_from_caffe.pth", other.state_dict())
    model = narrow()
    with pytest.raises(InputError, match="normalization='imagenet'"):
        pretrained.load(model, path)
    variables, report = pretrained.load(model, path, source="pytorch-fcn")
    assert report.title == "pytorch-fcn's copy of Caffe's VGG16"
    assert_same_scores(model, variables, other, prepare=caffe_like)
    _, report = pretrained.load(narrow(normalization="imagenet"), path)
    assert "source='pytorch-fcn'" in str(report)


@slow
def test_a_file_with_only_the_convolutions(tmp_path):
    other = network()
    state = other.state_dict()
    for name in state:
        if name.startswith("classifier."):
            state[name] = torch.full_like(state[name], torch.nan)
    path = save(tmp_path / "vgg16_features.pth", state)
    model = narrow(normalization="caffe_vgg_rounded")
    variables, report = pretrained.load(model, path)
    assert set(report.unused) == {name for name in state if name.startswith("classifier.")}
    assert set(report.unused.values()) == {"not numbers: the file has only VGG16's features"}
    assert set(report.kept.values()) == {"the file has only VGG16's features"}
    assert {name.split("/")[1] for name in report.kept} == {"fc6", "fc7", "score_fr"}
    for size in SIZES:
        rgb = photographs(size)
        x = torch.tensor((rgb - np.float32([123, 117, 104])).transpose(0, 3, 1, 2))
        with torch.no_grad():
            want = last_map(other, x)
        x = jaxseg.normalize(rgb, model.preprocessing)
        assert_close(jaxseg.features(model, variables, x, ["pool5"])["pool5"], want)
    pretrained.load(narrow(), path)  # Caffe's mean is accepted: less than one grey level away
    with pytest.raises(InputError, match="normalization='caffe_vgg_rounded'"):
        pretrained.load(narrow(normalization="imagenet"), path)


@slow
@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("fcn32s_vgg16", {"score_fr"}),
        ("fcn16s_vgg16", {"score_fr", "score_pool4"}),
        ("fcn8s_vgg16", {"score_fr", "score_pool4", "score_pool3"}),
        ("fcn8s_atonce_vgg16", {"score_fr", "score_pool4", "score_pool3"}),
    ],
)
def test_new_parameters_keep_their_initial_values(tmp_path, name, new):
    path = save(tmp_path / "vgg16.pth", network().state_dict())
    fields = {"width": WIDTH, "fc_channels": HIDDEN / WIDTH, "normalization": "imagenet"}
    variables, report = pretrained.load(jaxseg.create_model(name, 5, **fields), path)
    assert {name.split("/")[1] for name in report.kept} == new
    assert report.unused["classifier.6.weight"] == "the logits layer of the ImageNet classes"
    assert not any(np.any(variables["params"][layer]["kernel"]) for layer in new)


@pytest.mark.nightly  # the published width takes long to compile
@pytest.mark.parametrize("batch_norm", [False, True])
def test_full_size(tmp_path, batch_norm):
    other = randomized(VGG16(batch_norm=batch_norm))
    path = save(tmp_path / "vgg16.pth", other.state_dict())
    fields = {"norm": "batch"} if batch_norm else {}
    model = jaxseg.create_model("fcn32s_vgg16", 1000, padding=1, normalization="imagenet", **fields)
    assert_same_scores(model, pretrained.load_pretrained(model, path), other)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_tensor_of_the_published_files(batch_norm):
    theirs = shapes(on_meta(VGG16, batch_norm=batch_norm))
    assert sum(np.prod(s, dtype=int) for n, s in theirs.items() if "num" not in n) == (
        138_365_992 + 2 * 4224 if batch_norm else 138_357_544
    )
    full = FullSize(theirs)
    assert full.source == f"torchvision_vgg16{'-bn' * batch_norm}"
    assert full.fit.model == "fcn8s_vgg16"
    needed = {"norm": "batch"} if batch_norm else {}
    assert full.fit.needed() == needed | {"normalization": "imagenet"}
    assert {name.split("/")[1] for name in full.kept} == {"score_fr", "score_pool4", "score_pool3"}


@slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_names_and_shapes_are_those_of_torchvision(batch_norm):
    import peers

    models = peers.torchvision().models
    make = models.vgg16_bn if batch_norm else models.vgg16
    assert shapes(on_meta(make, init_weights=False)) == shapes(
        on_meta(VGG16, batch_norm=batch_norm)
    )


def test_other_networks_are_refused(tmp_path):
    state = network().state_dict()
    path = save(tmp_path / "vgg16.pth", state)
    with pytest.raises(InputError, match="torchvision's VGG16, which does not fit PSPNet"):
        pretrained.load(jaxseg.create_model("pspnet_resnet50", 5), path)
    normed = save(tmp_path / "vgg16_bn.pth", network(batch_norm=True).state_dict())
    with pytest.raises(InputError, match="norm is None.*norm='batch'"):
        pretrained.load(narrow(normalization="imagenet"), normed)
    vgg19 = state | {"features.30.weight": torch.ones(2, 2, 3, 3)}
    with pytest.raises(InputError, match="none of the files"):
        pretrained.suggest(save(tmp_path / "vgg19.pth", vgg19))
    del state["classifier.3.weight"]
    with pytest.raises(InputError, match="has no tensor 'classifier.3.weight', which params/fc7"):
        pretrained.load(narrow(normalization="imagenet"), save(tmp_path / "cut.pth", state))
