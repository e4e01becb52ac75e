import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg import create_model, list_models, normalize
from jaxseg.config.ranges import CHOICES
from jaxseg.errors import InputError
from jaxseg.models.preprocessing import NORMALIZATIONS

# RGB means, and standard deviations where they exist, as in the published code
PUBLISHED = {
    "caffe_vgg": ((122.67891434, 116.66876762, 104.00698793), (1, 1, 1)),
    "caffe_vgg_rounded": ((123, 117, 104), (1, 1, 1)),
    "caffe_pspnet": ((123.68, 116.779, 103.939), (1, 1, 1)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(
    "model",
    ["fcn8s_vgg16", "fcn32s_alexnet", "fcn32s_googlenet"]
    + ["deconvnet_vgg16", "fcn_resnet50", "pspnet_resnet50"],
)
def test_a_network_normalises_by_what_its_field_says(model, name):
    mean, std = PUBLISHED[name]
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), np.uint8)
    unit = 255 if name == "imagenet" else 1
    want = (rgb.astype(np.float64) / unit - mean) / std
    got = normalize(jnp.asarray(rgb), create_model(model, 2, normalization=name).preprocessing)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def test_every_network_has_a_published_one_and_refuses_unknown_ones():
    known = list(NORMALIZATIONS.values())
    for name in list_models():
        assert create_model(name, 2).preprocessing in known
        with pytest.raises(InputError, match="normalization is 'vgg'.*'caffe_vgg'"):
            create_model(name, 2, normalization="vgg").preprocessing  # noqa: B018


def test_the_config_takes_the_same_names():
    assert set(CHOICES["model.normalization"]) == set(NORMALIZATIONS) == set(PUBLISHED)


def test_a_network_in_place_of_its_preprocessing():
    with pytest.raises(InputError, match="None is no preprocessing.*model.preprocessing"):
        normalize(np.zeros((1, 2, 2, 3), np.uint8), None)
