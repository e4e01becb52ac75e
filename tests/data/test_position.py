import json

import pytest

from jaxseg.data import Scenes, check_position, position
from jaxseg.errors import InputError

SOURCE = Scenes(0, 5, (16, 16))
SAVED = position(SOURCE, step=7, seed=1, batch_size=2)


def test_position_is_plain_and_step_is_all_that_moves():
    assert json.loads(json.dumps(SAVED)) == SAVED
    assert (SAVED["step"], SAVED["seed"], SAVED["batch_size"], SAVED["examples"]) == (7, 1, 2, 5)
    check_position(SAVED, position(SOURCE, step=0, seed=1, batch_size=2))


@pytest.mark.parametrize(
    "source, seed, batch_size, message",
    [
        (SOURCE, 2, 2, "config.seed = 1, but this run has 2"),
        (SOURCE, 1, 4, "config.train.batch_size = 2, but this run has 4"),
        (Scenes(0, 6, (16, 16)), 1, 2, "saved with 5 training examples, but this run has 6"),
        (Scenes(3, 5, (16, 16)), 1, 2, "checksum of the names"),
    ],
)
def test_another_run_is_refused(source, seed, batch_size, message):
    with pytest.raises(InputError, match=message):
        check_position(SAVED, position(source, step=7, seed=seed, batch_size=batch_size))


def test_a_position_that_lacks_a_field_is_refused():
    with pytest.raises(InputError, match="names"):
        check_position({k: v for k, v in SAVED.items() if k != "names"}, SAVED)
