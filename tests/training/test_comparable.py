"""Mean IoUs of other evaluation images, or of another protocol, are not compared."""

import json

import pytest

from jaxseg.config import default_config
from jaxseg.data import Scenes
from jaxseg.training.comparable import compared_from, evaluated
from jaxseg.training.patience import Patience

SOURCE = Scenes(0, 5, (16, 16))


def of_eval(source=SOURCE, **fields):
    config = default_config().eval
    config.update(fields)
    return evaluated(source, config)


@pytest.mark.parametrize(
    ("now", "part"),
    [
        (of_eval(Scenes(0, 6, (16, 16))), "the evaluation images are not"),
        (of_eval(Scenes(3, 5, (16, 16))), "the evaluation images are not"),
        (of_eval(absent="zero"), "the fields of config.eval are not"),
        (of_eval(Scenes(0, 6, (16, 16)), flip=True), "images and the fields of config.eval"),
    ],
)
def test_what_differs(now, part):
    since, line = compared_from(of_eval(), now, 40)
    assert since == 40 and part in line and "after step 40" in line
    saved = now | {"compared_from": since}  # the next start is no change
    assert compared_from(saved, now, 60) == (40, None)


def test_fields_that_change_no_mean_iou():
    same = of_eval(every_steps=7, batch_size=3, pad_to=32, boundary=True)
    assert compared_from(of_eval(), same, 40) == (0, None)


def test_patience_begins_anew(tmp_path):
    log = tmp_path / "metrics.jsonl"
    scores = {10: 0.9, 20: 0.3, 30: 0.2}
    lines = [json.dumps({"kind": "eval", "step": s, "mean_iou": i}) for s, i in scores.items()]
    log.write_text("\n".join(lines) + "\n")
    assert Patience(2, log, 30).ended
    patience = Patience(2, log, 30, since=10)
    assert not patience.ended and patience.best == (20, 0.3)
