"""Networks with other channels: saved and opened, and started from weights for photographs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseg
from jaxseg.config import default_config, set_field, validate
from jaxseg.errors import InputError
from jaxseg.models.preprocessing import CAFFE_VGG, IMAGENET, fitted
from jaxseg.pretrained.folder import save_exported
from jaxseg.pretrained.load import load, suggest
from jaxseg.utils.image_kind import RGB, ImageKind

FIELDS = {"width": 0.02, "padding": 1}
NAME, FIRST = "fcn32s_vgg16", ("params", "conv1_1", "kernel")
BANDS = {"channels": 5, "bits": 16, "mean": (1.0, 2.0, 3.0, 4.0, 5.0), "std": (57.63,) * 5}


def network(**fields):
    return jaxseg.create_model(NAME, num_classes=3, **FIELDS, **fields)


def random_variables(model):
    rng = np.random.default_rng(0)
    images = jnp.zeros([1, 64, 64, model.channels])
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), shapes)


def saved(folder, **fields):
    model = network(**fields)
    variables = random_variables(model)
    save_exported(folder, NAME, model, variables)
    return variables


def kernel(variables) -> np.ndarray:
    return np.asarray(variables[FIRST[0]][FIRST[1]][FIRST[2]])


@pytest.mark.slow
def test_the_first_kernel_is_repeated_over_channels_with_a_note(tmp_path):
    given = kernel(saved(tmp_path / "rgb"))
    for channels, words in ((5, "repeated in turn over 5 channels"), (1, "summed for the single")):
        variables, report = load(network(channels=channels), tmp_path / "rgb")
        assert [words in note for note in report.notes] == [True]
        got = kernel(variables)
        assert got.shape[2] == channels
        want = given[:, :, [0, 1, 2, 0, 1]] * 0.6 if channels == 5 else given.sum(2, keepdims=True)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert not load(network(), tmp_path / "rgb")[1].notes


def test_other_channels_do_not_become_photographs(tmp_path):
    saved(tmp_path / "bands", **BANDS)
    with pytest.raises(InputError, match=r"channels is 3.*channels=5"):
        load(network(), tmp_path / "bands")
    other = BANDS | {"mean": (0.0,) * 5, "bits": 8}
    np.testing.assert_array_equal(
        kernel(load(network(**other), tmp_path / "bands")[0]),
        kernel(random_variables(network(**BANDS))),
    )
    assert suggest(tmp_path / "bands").create().preprocessing == network(**BANDS).preprocessing


def test_a_saved_network_knows_its_images(tmp_path):
    saved(tmp_path / "bands", **BANDS)
    opened = jaxseg.load(tmp_path / "bands")
    assert opened.model.kind == ImageKind(5, 16)
    assert opened.model.preprocessing == network(**BANDS).preprocessing
    np.save(tmp_path / "four.npy", np.zeros((64, 64, 4), np.uint16))
    with pytest.raises(InputError, match="4 channels, but 5 are expected"):
        opened.predict(tmp_path / "four.npy")
    with pytest.raises(InputError, match="Give uint16 images with 5 channels"):
        opened.predict(np.zeros((64, 64, 3), np.uint8))


def test_a_network_of_photographs_refuses_bands(tmp_path):
    saved(tmp_path / "rgb")
    np.save(tmp_path / "five.npy", np.zeros((64, 64, 5), np.uint8))
    with pytest.raises(InputError, match="5 channels, but 3 are expected"):
        jaxseg.load(tmp_path / "rgb").predict(tmp_path / "five.npy")


def test_normalisation_has_the_scale_that_the_weights_expect():
    mean, std = (100.0, 5000.0), (20.0, 900.0)
    for published, spread in ((IMAGENET, 1.0), (CAFFE_VGG, sum(IMAGENET.std) / 3)):
        found = fitted(published, ImageKind(2, 16), mean, std)
        assert found.mean == mean
        np.testing.assert_allclose(np.array(std) / found.std, spread, rtol=1e-5)
        assert fitted(published, RGB) is published
        deep = fitted(published, ImageKind(3, 16))
        photo = np.array([0, 200, 255])
        np.testing.assert_allclose((photo * 257 - deep.mean) / deep.std,
                                   (photo - published.mean) / np.array(published.std))  # fmt: skip
    with pytest.raises(InputError, match="Float images need a mean and a std"):
        fitted(IMAGENET, ImageKind(4, 32))


def test_config_refuses_conflicting_fields_of_images():
    for fields, words in (
        ({"data.mean": (1.0,) * 3, "data.std": (1.0,) * 3, "data.channels": 5}, "3 numbers for 5"),
        ({"data.mean": (1.0,) * 3}, "the other field is not set"),
        ({"data.bits": 12}, "8, 16 or 32"),
        ({"data.channels": 4, "augment.hue": 0.1}, "it needs 3 channels and data.channels is 4"),
        ({"data.std": (0.0,) * 3, "data.mean": (1.0,) * 3}, "a number above 0"),
    ):
        config = default_config()
        for name, value in fields.items():
            set_field(config, name, value)
        with pytest.raises(InputError, match=words):
            validate(config)
