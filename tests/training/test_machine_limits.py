"""A run's limits from the machine: its batch size from memory, its steps from time."""

import time
import types

import pytest

from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import default_config, load_config, validate
from jaxseg.errors import InputError
from jaxseg.training.batch_size import largest_batch
from jaxseg.training.progress import Progress
from jaxseg.training.time_limit import TimeLimit

MIB = 2**20


@pytest.fixture
def memory_of(monkeypatch):
    """`memory_of(bytes_of)`: fakes steps of `bytes_of(images a device)`; lists compiled sizes."""
    asked: list[int] = []

    def set_up(bytes_of):
        class Program:
            size, like = (8, 8), None
            model = types.SimpleNamespace(
                preprocessing=types.SimpleNamespace(channels=3, dtype="uint8")
            )

            def __init__(self, config, source):
                self.step = self
                self._batch = config.train.batch_size

            def lower(self, like, images, labels):
                assert images.shape == (self._batch, 8, 8, 3) and labels.shape == images.shape[:3]
                return self

            def compile(self):
                asked.append(self._batch)
                return self

            def memory_analysis(self):
                taken = bytes_of(self._batch // 8)  # the tests have eight devices
                return types.SimpleNamespace(
                    temp_size_in_bytes=taken - 2,
                    argument_size_in_bytes=1,
                    output_size_in_bytes=3,
                    alias_size_in_bytes=2,
                )

        monkeypatch.setattr("jaxseg.training.batch_size.Program", Program)
        return asked

    return set_up


def quiet(line):
    pass


@pytest.mark.parametrize(
    ("bytes_of", "memory", "images"),
    [
        (lambda n: 100 * MIB + n * 10 * MIB, 1000 * MIB, 64),  # 740 of 900 MiB; 128 take 1,380
        (lambda n: 100 * MIB + n * 10 * MIB, 822 * MIB, 32),  # 64 take 740, more than 739.8
        (lambda n: n * n * 10 * MIB, 1000 * MIB, 8),  # grows faster than extrapolated
        (lambda n: int(n**0.5 * 100) * MIB, 1000 * MIB, 64),  # grows more slowly
        (lambda n: 500 * MIB * n, 1000 * MIB, 1),
        (lambda n: 1000, 1000 * MIB, 128),  # an epoch has at least eight steps
    ],
)
def test_the_largest_power_of_two_that_fits(memory_of, bytes_of, memory, images):
    asked = memory_of(bytes_of)
    source = range(128 * 8 * 8 + 5)
    found = largest_batch(default_config(), source, memory, quiet)
    assert found == images * 8 and bytes_of(images) <= 0.9 * memory
    assert images == 128 or bytes_of(2 * images) > 0.9 * memory
    assert len(asked) == len(set(asked)) <= 6  # no size is compiled twice


def test_what_does_not_fit_at_all(memory_of):
    memory_of(lambda n: 950 * MIB)
    with pytest.raises(InputError, match="one image per device needs 0.93 GiB, .* of the 0.98 GiB"):
        largest_batch(default_config(), range(99), 1000 * MIB, quiet)


def test_batch_size_0_in_parts_is_refused():
    config = default_config()
    config.train.batch_size, config.train.accumulate = 0, 2
    with pytest.raises(
        InputError, match="train.batch_size is 0, which requires train.accumulate 1, not 2"
    ):
        validate(config)


def test_a_limit_keeps_time_for_the_last_evaluation():
    begun = time.monotonic()
    limit = TimeLimit(1.0, begun, every=1)
    assert not limit.passed(1)
    limit.evaluated(61.0)
    assert limit.passed(2)
    assert TimeLimit(1.0, begun - 60, every=1).passed(1)
    assert not TimeLimit(None, begun - 1e9, every=1).passed(1)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_machine_dependent_numbers(tiny, tmp_path, monkeypatch):
    from jaxseg.training.loop import train

    monkeypatch.setattr("jaxseg.training.begin.largest_batch", lambda *_, **__: 16)
    monkeypatch.setattr("jaxseg.training.begin.steps_in_time", lambda *_: 6)
    fields = {"train.max_minutes": 30.0, "train.batch_size": 0, "eval.every_steps": None}
    fields |= {"optim.schedule": "poly", "log.every_steps": 1}
    assert train(tiny(fields), tmp_path)["step"] == 6
    ran = load_config(Workdir(tmp_path).config)
    assert (ran.train.steps, ran.train.batch_size, ran.train.max_minutes) == (6, 16, 30.0)

    def never(*_, **__):
        raise AssertionError("a run that goes on is not measured again")

    monkeypatch.setattr("jaxseg.training.begin.largest_batch", never)
    monkeypatch.setattr("jaxseg.training.begin.steps_in_time", never)
    assert train(tiny(fields), tmp_path)["step"] == 6


@pytest.mark.slow
def test_a_run_whose_time_is_over_is_scored(tiny, tmp_path, monkeypatch, capsys):
    from jaxseg.training.loop import train

    monkeypatch.setattr("jaxseg.training.begin.steps_in_time", lambda *_: 40)
    monkeypatch.setattr(TimeLimit, "passed", lambda self, step: step == 3)
    shown = []
    monkeypatch.setattr(Progress, "picture", lambda self, step, image: shown.append(step))
    fields = {"train.max_minutes": 30.0, "eval.every_steps": None}
    scores = train(tiny(fields), tmp_path)
    assert shown == [3]
    assert (
        scores["step"] == 3
        and "stopping at step 3: train.max_minutes is reached" in capsys.readouterr().out
    )
    assert Workdir(tmp_path).scores.is_file()
    assert (Workdir(tmp_path).checkpoints / "3").is_dir()
