"""Training and evaluation: a run's files, and independence of devices and batch sizes."""

import functools
import json
import logging
import math
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from PIL import Image

from jaxseg import metrics
from jaxseg.__main__ import main
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.config import load_config
from jaxseg.data import Augment, open_data, train_batches
from jaxseg.distributed.mesh import replicated, split_batch, to_devices
from jaxseg.errors import InputError
from jaxseg.evaluation import evaluator as evaluation
from jaxseg.evaluation.evaluator import Evaluator, evaluate_workdir, write_scores
from jaxseg.evaluation.trained_run import open_run
from jaxseg.models import model_from_config
from jaxseg.training.environment import git_state
from jaxseg.training.loop import train
from jaxseg.training.loss_monitor import LossMonitor
from jaxseg.training.optimizers import make_optimizer
from jaxseg.training.progress import Progress
from jaxseg.training.setup import Program
from jaxseg.training.step import create_state, make_train_step

KEYS = {*metrics.scores(np.eye(2, dtype=int)), "class_names", "protocol", "step"}


def lines(workdir):
    return [json.loads(line) for line in workdir.log.read_text().splitlines()]


def mesh_of(devices):
    return Mesh(np.array(jax.devices()[:devices]), ("data",))


# ---- a run's files


def test_scores_file(finished):
    workdir, scores = finished
    saved = json.loads(workdir.scores.read_text(), parse_constant=pytest.fail)
    assert set(saved) == set(scores) == KEYS
    assert saved["step"] == 40 and len(saved["iou"]) == len(saved["class_names"]) == 6
    each = {
        k: [None if math.isnan(v) else v for v in scores[k]] for k in ("accuracy", "iou", "dice")
    }
    assert saved == scores | each and saved["absent"] == "nan"
    assert np.nanmax(scores["iou"][1:]) > 0  # not only background; else equal scores prove little


def test_absent_classes_are_null(tmp_path):
    scores = metrics.scores(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    write_scores(tmp_path / "scores.json", scores)
    saved = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    assert saved["iou"] == [0.75, scores["iou"][1], None]
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_config_as_run(finished, tiny):
    assert load_config(finished[0].config) == tiny()


def test_log(finished):
    entries = lines(finished[0])
    steps = [e["step"] for e in entries if e["kind"] == "train"]
    assert steps == list(range(1, 41))
    numbers = {"loss", "learning_rate", "gradient_norm"}
    numbers |= {"images_per_second", "data_wait_share", "memory_gib"}
    for entry in entries:
        if entry["kind"] == "train":
            assert set(entry) == {"kind", "step"} | numbers
            assert all(math.isfinite(entry[key]) for key in numbers)
            assert entry["learning_rate"] == pytest.approx(0.1)
            assert entry["images_per_second"] > 0 and 0 <= entry["data_wait_share"] <= 1
    scored = [e for e in entries if e["kind"] == "eval"]
    assert [e["step"] for e in scored] == [20, 40]
    assert scored[-1].items() >= {"mean_iou": finished[1]["mean_iou"]}.items()
    losses = [e["loss"] for e in entries if e["kind"] == "train"]
    assert losses[0] == pytest.approx(math.log(6), rel=1e-3)  # scores are initialized with zero
    assert np.mean(losses[-5:]) < 0.9 * losses[0]


def test_tensorboard(finished):
    from tensorboardX.proto.event_pb2 import Event

    tags = set()
    for path in (finished[0].path / "tensorboard").iterdir():
        data = path.read_bytes()
        while data:  # a record: length in 8 bytes, 4 of checksum, content, 4 of checksum
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            tags |= {(event.step, value.tag) for value in event.summary.value}
            data = data[16 + size :]
    for step, tag in [(1, "train/loss"), (40, "train/learning_rate"), (20, "eval/mean_iou")]:
        assert (step, tag) in tags
    assert {step for step, tag in tags if tag == "predictions"} == {20, 40}


def test_environment(finished, tiny):
    """Each start of a run is recorded; restarting a finished run adds a second entry."""
    workdir, _ = finished
    first, *later = json.loads(workdir.environment.read_text())
    assert (first["step"], first["devices"], first["processes"]) == (0, {"cpu": 8}, 1)
    assert first["packages"]["jax"] == jax.__version__ and first["packages"]["flax"]
    assert "device_count=8" in first["variables"]["XLA_FLAGS"]
    assert all(name.startswith(("XLA_FLAGS", "JAX", "CUDA_V")) for name in first["variables"])
    assert first["command"][0] == sys.executable
    assert [entry["step"] for entry in later] in ([], [40])


def test_the_commit_and_what_differs_from_it(tmp_path):
    def git(*words):
        quiet = {"stdout": subprocess.DEVNULL, "check": True}
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], **quiet)

    assert git_state(tmp_path) is None
    git("init", "-q")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-qm", "a")
    assert git_state(tmp_path)["changed"] == [] and len(git_state(tmp_path)["commit"]) == 40
    (tmp_path / "a.py").write_text("2")
    assert git_state(tmp_path)["changed"] == ["a.py"]


@pytest.mark.slow
def test_compilation_does_not_count_as_training(tiny, tmp_path, monkeypatch):
    compile_step = Program.compile

    def slowly(program, images, labels):
        time.sleep(10)
        return compile_step(program, images, labels)

    monkeypatch.setattr(Program, "compile", slowly)
    config = tiny({"train.steps": 2, "log.every_steps": 1})
    train(config, tmp_path)
    first = next(e for e in lines(Workdir(tmp_path)) if e["kind"] == "train")
    assert first["images_per_second"] > config.train.batch_size / 10


def test_picture(finished):
    with Image.open(finished[0].picture) as picture:
        picture.load()
        assert picture.mode == "RGB"
        assert picture.width == 4 * 240 + 5 * 8  # four square tiles of 240, and gaps
        assert 2 * 240 < picture.height < 3 * 240  # two rows, a title and a legend


def test_two_newest_and_best_checkpoint_are_kept(finished):
    workdir = finished[0]
    best = max((e for e in lines(workdir) if e["kind"] == "eval"), key=lambda e: e["mean_iou"])
    kept = {int(p.name) for p in workdir.checkpoints.iterdir()}
    assert len(kept) <= 3 and kept == {*sorted(kept)[-2:], best["step"]} and max(kept) == 40


# ---- evaluation


def test_evaluate_repeats_the_scores(finished):
    workdir, scores = finished
    before = {p: p.stat().st_mtime_ns for p in workdir.path.rglob("*")}
    np.testing.assert_equal(evaluate_workdir(workdir.path), scores)  # exact; NaN equals NaN
    assert {p: p.stat().st_mtime_ns for p in workdir.path.rglob("*")} == before


def test_evaluate_prints_the_scores(finished, capsys):
    assert main(["evaluate", "--workdir", str(finished[0].path)]) == 0
    check_printed(capsys.readouterr().out, finished[0])


@pytest.mark.slow
def test_the_command_evaluate_repeats_the_scores(finished_command, process):
    workdir, printed = finished_command
    command = process("evaluate", "--workdir", workdir.path)
    out, err = command.communicate(timeout=300)
    assert (command.returncode, err) == (0, "")
    assert out in printed
    check_printed(out, workdir)


def check_printed(out, workdir):
    """The line of each class has the numbers of scores.json."""
    assert out.startswith("pixel accuracy")
    scores = json.loads(workdir.scores.read_text())
    for name, iou in zip(scores["class_names"], scores["iou"], strict=True):
        (row,) = (line.split() for line in out.splitlines() if line.startswith(f"  {name} "))
        assert row[2] == ("absent" if iou is None else f"{iou:.4f}")


@pytest.mark.slow
def test_quiet_in_a_pipe(finished_command):
    lines = finished_command[1].splitlines()
    assert lines[0] == f"workdir: {finished_command[0].path}"
    steps = [
        line for line in lines if re.match(r"step \d+ of 40: loss .* images/s, .* left$", line)
    ]
    assert len(steps) == 40  # log.every_steps is 1
    assert len(lines) - len(steps) < 35 and "\r" not in finished_command[1]
    assert not [line for line in lines if "it/s" in line or "step/s" in line]


def test_evaluate_the_best(finished):
    best = max((e for e in lines(finished[0]) if e["kind"] == "eval"), key=lambda e: e["mean_iou"])
    scores = evaluate_workdir(finished[0].path, step="best")
    assert (scores["step"], scores["mean_iou"]) == (best["step"], best["mean_iou"])


@pytest.fixture(scope="module")
def evaluated(finished, tiny, restored):
    """`evaluated(batch_size, devices, scenes)`: the confusion matrix of the finished run."""
    state = restored(finished[0].path, tiny())[0]

    def confusion(monkeypatch, batch_size, devices, size=(32, 32)):
        config = tiny({"eval.batch_size": batch_size, "data.scenes_eval": 11})
        source = open_data(config.data, "eval")
        model = model_from_config(config.model, source.info.num_classes)
        monkeypatch.setattr(evaluation, "make_mesh", lambda *_, **__: mesh_of(devices))
        evaluator = Evaluator.of_run(model, source, config)
        return evaluator.confusion(state.variables), source

    return confusion


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_size", "devices"),
    [(8, 8), *(pytest.param(*how, marks=pytest.mark.slow) for how in ((3, 1), (4, 2)))],
)
def test_every_image_counts_once(evaluated, monkeypatch, batch_size, devices):
    """For any batch size and number of devices; eleven images leave a remainder."""
    reference, source = evaluated(monkeypatch, 1, 1)
    labels = np.stack([source[i].label for i in range(11)])
    truth = [(labels == k).sum() for k in range(6)]
    np.testing.assert_array_equal(reference.sum(axis=1), truth)
    assert (reference.sum(axis=0) > 0).sum() > 1  # more than one class is predicted
    counts = evaluated(monkeypatch, batch_size, devices)[0]
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, reference)


@pytest.mark.slow
def test_counts_are_carried_to_64_bits(evaluated, monkeypatch):
    reference = evaluated(monkeypatch, 8, 8)[0]
    after_every_batch = functools.partial(evaluation.Counts, most=1)
    monkeypatch.setattr(evaluation, "Counts", after_every_batch)
    np.testing.assert_array_equal(evaluated(monkeypatch, 8, 8)[0], reference)


def test_counts_beyond_32_bits_are_exact():
    """Twelve batches with up to a billion pixels in one cell, and a few in another."""
    counts, want = evaluation.Counts(2), np.zeros((2, 2), np.int64)
    for i in range(12):
        batch = np.array([[10**9 - i, 0], [7 * i, 1]], np.int32)
        counts.add(lambda total, batch=batch: total + batch, int(batch.sum()))
        want += batch
    assert want[0, 0] > 2**33
    assert counts.total().dtype == np.int64
    np.testing.assert_array_equal(counts.total(), want)


@pytest.mark.slow
def test_fields_that_differ_from_the_runs(finished):
    """Boundary scores need label maps on the host; their counts equal those on the devices."""
    workdir, scores = finished
    fields = {"eval.boundary": True, "eval.absent": "zero", "eval.batch_size": 8}
    other = evaluate_workdir(workdir.path, fields=fields)
    assert set(other) == KEYS | {"boundary_iou", "mean_boundary_iou"} and other["absent"] == "zero"
    assert 0 < other["mean_boundary_iou"] < 1
    np.testing.assert_array_equal(np.nan_to_num(scores["iou"]), other["iou"])
    assert other["pixel_accuracy"] == scores["pixel_accuracy"]
    # a single window of the image's size equals the whole image
    fields = {"eval.protocol": "sliding", "eval.crop": (32, 32)}
    other = evaluate_workdir(workdir.path, fields=fields)
    np.testing.assert_equal(other["iou"], scores["iou"])
    assert other["protocol"] == "sliding windows of 32×32, scales 1, as in semseg"
    with pytest.raises(InputError, match="eval.crop is None"):
        evaluate_workdir(workdir.path, fields={"eval.protocol": "sliding"})


# ---- resuming


@pytest.mark.slow
def test_finished_run_started_again_scores_again(finished, tiny, caplog, capsys):
    workdir, scores = finished
    names = ("metrics.jsonl", "scores.json", "config.json", "predictions.png")
    before = {name: (workdir.path / name).read_bytes() for name in names}
    np.testing.assert_equal(train(tiny(), workdir.path), scores)
    assert before == {name: (workdir.path / name).read_bytes() for name in names}
    assert "resuming from step 40 of 40" in capsys.readouterr().out


# ---- the train step


class Steps:
    """The train step of a config on some devices, and its batches."""

    def __init__(self, config, devices):
        self.source = open_data(config.data, "train", config.seed)
        self.config, self.mesh = config, mesh_of(devices)
        model = model_from_config(config.model, self.source.info.num_classes)
        optimizer = make_optimizer(config.optim, config.train.steps)
        whole, split = replicated(self.mesh), split_batch(self.mesh)
        self.state = jax.jit(
            lambda: create_state(model, optimizer, config.seed, (64, 64)),
            out_shardings=whole,
            compiler_options={"xla_backend_optimization_level": 1},
        )()
        self.step = jax.jit(
            make_train_step(model, optimizer, config.loss, config.seed),
            in_shardings=(whole, split, split),
            out_shardings=whole,
            donate_argnums=0,
        )

    def losses(self, steps):
        batches = train_batches(
            self.source, seed=0, batch_size=self.config.train.batch_size, augment=Augment(flip=0.5)
        )
        losses = []
        for batch, _ in zip(batches, range(steps), strict=False):
            on_devices = to_devices(self.mesh, batch.image, batch.label)
            self.state, numbers = self.step(self.state, *on_devices)
            losses.append(float(numbers["loss"]))
        batches.close()
        return losses


@pytest.fixture(scope="module")
def eight(tiny):
    steps = Steps(tiny(), 8)
    return steps, steps.losses(8)


@pytest.mark.optimized
def test_one_device_and_eight_give_the_same_losses(tiny, eight):
    one = Steps(tiny(), 1).losses(8)
    np.testing.assert_allclose(one, eight[1], rtol=0, atol=1e-5)
    assert one[-1] < one[0] - 0.01


@pytest.mark.slow
def test_state_is_donated_and_replicated(eight):
    steps, _ = eight
    old = jax.tree.leaves(steps.state)
    steps.losses(1)
    assert all(a.is_deleted() for a in old)
    assert all(a.sharding.is_fully_replicated for a in jax.tree.leaves(steps.state))
    assert {len(a.sharding.device_set) for a in jax.tree.leaves(steps.state)} == {8}


@pytest.mark.slow
def test_first_bad_step_is_remembered(eight):
    steps, _ = eight
    broken = jax.tree.map(lambda a: jnp.full_like(a, jnp.inf), steps.state.params)
    at = int(steps.state.step)
    assert int(steps.state.first_bad_step) == -1
    steps.state = steps.state.replace(params=broken)
    steps.losses(2)
    assert int(steps.state.first_bad_step) == at + 1


@pytest.mark.slow
def test_parameters_stay_float32_where_the_computation_is_bfloat16(tiny):
    config = tiny({"model.dtype": "bfloat16"})
    model = model_from_config(config.model, 6)
    optimizer = make_optimizer(config.optim, 1)
    before = jax.eval_shape(lambda: create_state(model, optimizer, 0, (64, 64)))
    step = make_train_step(model, optimizer, config.loss, 0)
    batch = jax.ShapeDtypeStruct((8, 32, 32, 3), np.uint8)
    after, numbers = jax.eval_shape(
        step, before, batch, jax.ShapeDtypeStruct((8, 32, 32), np.uint8)
    )
    assert jax.tree.map(lambda a: a.dtype, after) == jax.tree.map(lambda a: a.dtype, before)
    floats = [a for a in jax.tree.leaves(before) if jnp.issubdtype(a.dtype, jnp.floating)]
    assert {a.dtype for a in floats} == {np.dtype("float32")}  # including the optimizer's
    assert numbers["loss"].dtype == np.float32


@pytest.mark.slow
def test_bfloat16(tiny, tmp_path, restored):
    config = tiny({"model.dtype": "bfloat16", "train.steps": 8, "eval.every_steps": 8})
    scores = train(config, tmp_path)
    state, _ = restored(tmp_path, config)
    floats = [a for a in jax.tree.leaves(state) if jnp.issubdtype(a.dtype, jnp.floating)]
    assert {a.dtype for a in floats} == {np.dtype("float32")}
    assert all(np.isfinite(a).all() for a in floats)
    assert 0 < scores["pixel_accuracy"] <= 1


@pytest.mark.slow
def test_a_run_with_an_average_in_parts_with_frozen_parameters(tiny, tmp_path, restored):
    """Scores are those of the average; a resumed run ends bit for bit like an uninterrupted one.

    The first run of the two parts has fewer steps and so ends with a checkpoint in the middle.
    """
    fields = {
        "train.batch_size": 16,
        "train.accumulate": 2,
        "optim.ema": 0.9,
        "optim.freeze": ("conv1_", "conv2_1/"),
        "optim.weight_decay": 1e-3,
        "optim.momentum_form": "pytorch",
        "optim.schedule": "step",
        "optim.boundaries": (3, 5),
        "eval.every_steps": 2,
        "checkpoint.keep_last": 9,
        "data.scenes_eval": 8,
    }
    states = {}
    for name, parts in {"whole": (6,), "parts": (2, 6)}.items():
        for steps in parts:
            config = tiny(fields | {"train.steps": steps})
            scores = train(config, tmp_path / name)
        states[name], _ = restored(tmp_path / name, config)
    jax.tree.map(np.testing.assert_array_equal, states["whole"], states["parts"])
    state, (start, _) = states["whole"], restored(tmp_path / "whole", config, 2)
    np.testing.assert_equal(evaluate_workdir(tmp_path / "whole"), scores)
    variables = open_run(tmp_path / "whole").variables
    jax.tree.map(np.testing.assert_array_equal, variables, state.average)
    for layer, moved in {"conv1_1": False, "conv1_2": False, "conv3_1": True}.items():
        for values in (lambda s: s.params, lambda s: s.average["params"]):
            same = jax.tree.map(np.array_equal, values(state)[layer], values(start)[layer])
            assert jax.tree.all(same) != moved, layer
    assert not jax.tree.all(
        jax.tree.map(
            np.array_equal, state.average, dict(params=state.params, batch_stats=state.batch_stats)
        )
    )


@pytest.mark.slow
def test_the_host_does_not_wait_for_each_step(tiny, tmp_path, monkeypatch):
    """It reads a step's results only when it logs, scores or saves."""
    reads, at_step = [], []

    class Watched(dict):
        """A step's numbers; records each read."""

        def __getitem__(self, name):
            reads.append(name)
            return super().__getitem__(name)

    class Watching(Program):
        def __init__(self, *args):
            super().__init__(*args)
            step = self.step

            def watched(state, *batch):
                state, numbers = step(state, *batch)
                return state, Watched(numbers)

            self.take_step = watched

    class WatchedMonitor(LossMonitor):
        def stop_if_not_finite(self, state):
            reads.append("state")
            super().stop_if_not_finite(state)

    monkeypatch.setattr("jaxseg.training.begin.Program", Watching)
    monkeypatch.setattr("jaxseg.training.loop.LossMonitor", WatchedMonitor)
    advance = Progress.advance

    def count(self):
        at_step.append(len(reads))
        advance(self)

    monkeypatch.setattr(Progress, "advance", count)
    fields = {"train.steps": 12, "log.every_steps": 6, "checkpoint.every_steps": 12}
    train(tiny(fields | {"eval.every_steps": None}), tmp_path)
    assert len(at_step) == 12
    after = np.diff(at_step)  # reads between the starts of two steps
    assert after[5] > 0 and after[:5].sum() == after[6:].sum() == 0


@pytest.mark.nightly
@pytest.mark.parametrize(("rate", "hints"), [(1e-9, 1), (1e-2, 0)])
def test_a_run_that_does_not_learn_gets_one_hint(tiny, tmp_path, capfd, rate, hints):
    fields = {"train.steps": 120, "eval.every_steps": None, "optim.lr": rate}
    train(tiny(fields | {"log.every_steps": 10}), tmp_path)
    said = "".join(capfd.readouterr())
    assert said.count("hint: since step 10 the loss has been") == said.count("hint:") == hints


@pytest.mark.slow
def test_the_step_is_compiled_once(tiny, tmp_path, caplog):
    """For a new run and a resumed one; an evaluation's counting step likewise."""
    for steps in (3, 5):
        config = tiny({"train.steps": steps, "eval.every_steps": 1})
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            train(config, tmp_path)
        compiled = [r.getMessage() for r in caplog.records if "Finished XLA" in r.getMessage()]
        assert sum("jit(train_step)" in m for m in compiled) == 1, compiled
        assert sum("jit(count)" in m for m in compiled) == 1, compiled


@pytest.mark.optimized
def test_processes_with_one_device_and_with_eight(words, process, tmp_path):
    """The command line with its own mesh gives the same loss curve.

    The learning rate is low: at a high one, a difference in the last bit soon changes some maximum.
    """
    fields = {"train.steps": 20, "optim.lr": 0.005}
    curves = []
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        run = process(*words(workdir, fields), devices=devices)
        _, err = run.communicate(timeout=600)
        assert run.returncode == 0, err
        log = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        curves.append([e["loss"] for e in log if e["kind"] == "train"])
    assert len(curves[0]) == 20 and min(curves[0]) < curves[0][0] - 0.02
    np.testing.assert_allclose(*curves, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_run_ends_early_and_stays_ended(tiny, tmp_path, monkeypatch):
    real, falling = Evaluator.scores, iter((0.3, 0.2))
    monkeypatch.setattr(
        Evaluator, "scores", lambda *args: real(*args) | {"mean_iou": next(falling, 0.2)}
    )
    fields = {"train.epochs": 2.0, "loss.class_weights": "enet"}
    config = tiny(fields | {"eval.every_steps": 2, "train.patience": 1})
    scores = train(config, tmp_path / "run")
    workdir = Workdir(tmp_path / "run")
    saved = json.loads(workdir.config.read_text())
    assert saved["train.steps"] == 2 * 24 // config.train.batch_size > 4
    assert len(saved["loss.class_weights"]) == 6
    assert [line["step"] for line in lines(workdir) if line["kind"] == "eval"] == [2, 4]
    assert scores["step"] == 4
    assert train(config, tmp_path / "run")["step"] == 4  # takes no further step
