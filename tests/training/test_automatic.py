import json

import numpy as np
import pytest

from jaxseg.config import default_config, load_config, save_config, set_field, validate
from jaxseg.data import DataInfo, Example
from jaxseg.errors import InputError
from jaxseg.training.automatic import count_classes, resolved
from jaxseg.training.patience import Patience


class Masks:
    """A source of the given masks; None stands for an unreadable one."""

    def __init__(self, *masks):
        self._masks = masks
        self.info = DataInfo("masks", ("ground", "rare"), np.zeros((2, 3), np.uint8))

    def __len__(self):
        return len(self._masks)

    def __getitem__(self, index):
        mask = self._masks[index]
        if mask is None:
            raise InputError("It is cut off.", "Replace it.")
        mask = np.array(mask, np.uint8)
        return Example(np.zeros((*mask.shape, 3), np.uint8), mask, str(index))


MASKS = Masks([[0, 0, 0, 1]], None, [[0, 0, 255, 255]])


@pytest.mark.parametrize("rule, want", [("auto", (0.65, 2.17)), ("sqrt", (0.81, 1.47))])
def test_class_weights_are_counted(rule, want):
    # share of labelled pixels in masks with the class: ground 5 of 6, rare 1 of 4; median 0.5417
    config = default_config()
    set_field(config, "loss.class_weights", rule)
    validate(config)
    lines = []
    got = resolved(config, MASKS, lines.append).loss.class_weights
    np.testing.assert_allclose(got, want, atol=0.005)
    assert "2 masks" in lines[0] and "rare" in lines[0]
    assert config.loss.class_weights == rule  # the caller's config is unchanged


def test_enet_weights():
    config = default_config()
    set_field(config, "loss.class_weights", "enet")
    got = resolved(config, MASKS, lambda line: None).loss.class_weights
    np.testing.assert_allclose(got, 1 / np.log(1.02 + np.array([5, 1]) / 6), rtol=0.005)


def test_counting_is_bounded():
    counts = count_classes(Masks(*[[[0, 1]]] * 50), masks=10)
    assert counts.images == 10 and counts.pixels.tolist() == [10, 10]


def test_epochs_become_steps():
    config = default_config()
    config.train.batch_size = 2
    set_field(config, "train.epochs", 5)
    got = resolved(config, MASKS, lambda line: None)
    assert (got.train.steps, got.train.epochs) == (8, None)  # 5 * 3 / 2, rounded up
    assert resolved(got, MASKS, lambda line: None).train.steps == 8
    config.optim.warmup_steps = 8
    with pytest.raises(InputError, match="8, but the whole run .* has 8 steps"):
        resolved(config, MASKS)


def test_the_length_of_a_run_is_given_once(tmp_path):
    config = default_config()
    set_field(config, "train.steps", "2.5 epochs")
    save_config(config, tmp_path / "config.json")
    config = load_config(tmp_path / "config.json")
    assert config.train.epochs == 2.5
    set_field(config, "train.steps", 30)
    assert (config.train.steps, config.train.epochs) == (30, None)
    with pytest.raises(InputError, match="train.steps must be a whole number.*'many epochs'"):
        set_field(config, "train.steps", "many epochs")


@pytest.mark.parametrize("value", ["median", (1.0, -1.0), ()])
def test_invalid_class_weights(value):
    config = default_config()
    set_field(config, "loss.class_weights", value)
    with pytest.raises(InputError, match="loss.class_weights"):
        validate(config)


def test_patience_needs_evaluations():
    config = default_config()
    config.train.patience = 3
    with pytest.raises(InputError, match="train.patience is 3.*eval.every_steps is None"):
        validate(config)
    config.eval.every_steps = 10
    validate(config)


def test_patience_goes_on_from_the_log(tmp_path):
    log = tmp_path / "metrics.jsonl"
    entries = [
        {"kind": "eval", "step": 10, "mean_iou": 0.5},
        {"kind": "train", "step": 15, "loss": 1.0},
        {"kind": "eval", "step": 20, "mean_iou": float("nan")},
        {"kind": "eval", "step": 30, "mean_iou": 0.9},  # after the step from which it resumes
    ]
    log.write_text("\n".join(map(json.dumps, entries)) + '\n{"kind": "ev')
    patience = Patience(2, log, start=25)
    assert (patience.best, patience.ended) == ((10, 0.5), False)
    assert patience.add(30, 0.5)
    assert Patience(2, log, start=30).best == (30, 0.9)
    assert not Patience(None, log, start=30).ended
