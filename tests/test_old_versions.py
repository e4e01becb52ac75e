"""Files of jaxseg 0.1.0 still open: the workdir of a run, and a converted network's folder.

`expected_0_1_0.safetensors` holds the results that 0.1.0 itself computed from them.
"""

import json
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image
from safetensors.numpy import load_file

import jaxseg
from jaxseg.evaluation.evaluator import evaluate_workdir


@pytest.fixture(scope="module")
def fixtures(repository):
    return repository / "tests" / "fixtures"


@pytest.fixture(scope="module")
def expected(fixtures):
    return load_file(fixtures / "expected_0_1_0.safetensors")


@pytest.fixture
def workdir(fixtures, tmp_path):
    """A copy of the run's workdir, because a run writes into it."""
    return shutil.copytree(fixtures / "workdir_0_1_0", tmp_path / "run")


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """An image, and its file."""
    path = tmp_path_factory.mktemp("noise") / "noise.png"
    image = np.random.default_rng(0).integers(0, 256, (65, 65, 3), np.uint8)
    Image.fromarray(image).save(path)
    return image, path


def assert_is_as_it_was(network, want, noise):
    """Compares logits, and the file's label map except where two logits are nearly equal."""
    image, path = noise
    x = jaxseg.normalize(image[None], network.model.preprocessing)
    got = np.asarray(jax.jit(network.model.apply)(network.variables, x))[0, ::8, ::8]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    second, first = np.sort(want, axis=-1)[..., -2:].transpose(2, 0, 1)
    clear = first - second > 1e-3
    assert clear.mean() > 0.9
    labels = network.predict(path)[::8, ::8]
    np.testing.assert_array_equal(labels[clear], want.argmax(-1)[clear])


def test_a_workdir_opens_and_predicts(workdir, expected, noise):
    assert_is_as_it_was(jaxseg.load(workdir), expected["workdir_logits"], noise)


@pytest.mark.slow
def test_a_workdir_is_evaluated(workdir):
    scores = evaluate_workdir(workdir, fields={"eval.batch_size": 8})
    assert scores["step"] == 3
    classes = json.loads((workdir / "classes.json").read_text())
    assert scores["class_names"] == classes["class_names"]
    # four scenes, for which it predicts only background
    assert scores["iou"] == pytest.approx([0.5736670736670737, 0, 0, 0, 0, 0], abs=1e-3)


@pytest.mark.optimized
def test_a_run_goes_on_in_a_workdir(workdir, expected, process, tmp_path):
    """From step 3 to step 6, with the same parameters as 0.1.0 at the end."""
    config = tmp_path / "config.py"
    config.write_text(
        "from jaxseg.config import load_config\n"
        "def get_config():\n"
        f"    return load_config({str(workdir / 'config.json')!r})\n"
    )
    words = ("train", "--config", config, "--workdir", workdir, "--config.train.steps=6")
    run = process(*words, devices=1)
    out, err = run.communicate(timeout=300)
    assert (run.returncode, err) == (0, "")
    assert "resuming from step 3 of 6" in out
    got = flatten_dict(jaxseg.load(workdir).variables, sep="/")
    want = {k.removeprefix("step6/"): v for k, v in expected.items() if k.startswith("step6/")}
    assert got.keys() == want.keys()
    for name, value in want.items():
        # Another processor may round differently. A bias before batch norm has gradient 0, which
        # 0.1.0 computed from sums that cancel, as about 1e-11.
        atol = max(1e-4 * np.abs(value).max(), 1e-9)
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=atol, err_msg=name)


@pytest.mark.slow
def test_a_converted_folder_opens_and_predicts(fixtures, expected, noise):
    network = jaxseg.load(fixtures / "converted_0_1_0")
    assert_is_as_it_was(network, expected["converted_logits"], noise)
