"""A loss that is not finite stops a run; one that does not fall gives a hint."""

import types

import pytest

from jaxseg.errors import InputError
from jaxseg.training.loss_monitor import LossMonitor

LN_21 = 3.04452


class Kept:
    """Checkpoints with step 4 as the newest."""

    def wait(self):
        pass

    def latest(self):
        return 4


def state(step, bad=-1):
    return types.SimpleNamespace(step=step, first_bad_step=bad)


def test_the_images_of_the_bad_step_are_named():
    monitor = LossMonitor(Kept(), print)
    names = monitor.names  # filled by the loader during a run
    names |= {step: [f"photo{step}{i}" for i in range(10)] for step in range(1, 7)}
    monitor.stop_if_not_finite(state(5))
    assert sorted(monitor.names) == [6]  # names of earlier steps are dropped
    names |= {step: [f"photo{step}{i}" for i in range(10)] for step in (7, 8)}
    with pytest.raises(InputError) as error:
        monitor.stop_if_not_finite(state(8, bad=7))
    assert "step 7, with the images photo70, photo71, " in error.value.problem
    assert error.value.problem.endswith("photo77 and 2 more.")
    assert "step 4 is intact" in error.value.remedy


def hints(losses, guessing=LN_21, every=20):
    said = []
    monitor = LossMonitor(Kept(), said.append)
    for i, loss in enumerate(losses):
        monitor.hint_if_guessing(1 + i * every, loss, guessing)
    return said


def test_one_hint_after_a_while():
    (said,) = hints([LN_21] * 30)
    assert "since step 1 the loss has been 3.045" in said and "config.init.pretrained" in said
    assert hints([LN_21] * 5) == []  # 80 steps
    assert len(hints([2.0] * 5 + [LN_21 + 0.02] * 6)) == 1
    assert len(hints([LN_21, 2.9] * 30)) == 0
    assert hints([1.0] * 30) == hints([float("nan")] * 30) == []
    assert hints([LN_21] * 30, guessing=float("nan")) == []  # as for Dice
