"""The command line: dispatch, exit codes, arguments of each command. Training itself is a fake."""

import os
import re
import subprocess
import sys
import types

import pytest

from jaxseg import main as train_main
from jaxseg.__main__ import main
from jaxseg.cli import COMMANDS
from jaxseg.config import default_config, save_config
from jaxseg.errors import InputError

SCORES = {
    "pixel_accuracy": 0.9,
    "mean_accuracy": 0.8,
    "mean_iou": 0.75,
    "frequency_weighted_iou": 0.85,
    "iou": [0.75, float("nan")],
    "absent": "nan",
}


@pytest.fixture
def config_path(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text("from jaxseg.config import default_config as get_config\n")
    return str(path)


@pytest.fixture
def calls(monkeypatch):
    """Replaces training and evaluation; the list records their arguments."""
    calls = []

    def train(config, workdir):
        calls.append((config, workdir))
        return SCORES

    def evaluate_workdir(workdir, step="last", fields=None):
        calls.append((workdir, step, fields))
        return SCORES

    fakes = {"train": train, "evaluate_workdir": evaluate_workdir}
    for name in ("jaxseg.training.loop", "jaxseg.evaluation.evaluator"):
        module = types.ModuleType(name)
        vars(module).update(fakes)
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def refused(capsys, *words, run=main):
    """The two lines of a refusal, after checking exit code and form."""
    assert run(list(words)) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(r"error: .+\nfix: .+\n", err), err
    return err


def test_train_passes_config_and_workdir(calls, config_path, tmp_path, capsys):
    words = ["--config", config_path, "--config.optim.lr=1", "--workdir", str(tmp_path / "w")]
    assert main(["train", *words]) == 0
    (config, workdir) = calls.pop()
    assert config.optim.lr == 1.0 and workdir == tmp_path / "w"
    assert train_main.main(words) == 0
    assert calls.pop()[1] == tmp_path / "w"
    out = capsys.readouterr().out
    assert f"workdir: {tmp_path / 'w'}" in out
    assert "mean IoU                0.7500" in out and "absent" in out


@pytest.mark.parametrize("option", ["--data", "--dataset"])
def test_train_takes_a_data_set_as_check_does(calls, config_path, tmp_path, option):
    words = ["--config", config_path, "--workdir", str(tmp_path), option, "folder"]
    assert main(["train", *words, "--root", "photos"]) == 0
    config = calls.pop()[0]
    assert (config.data.name, config.data.root) == ("folder", "photos")


def test_train_takes_the_config_of_a_run(calls, tmp_path):
    config = default_config()
    config.model.name, config.optim.lr = "pspnet_resnet50", 0.25
    save_config(config, tmp_path / "config.json")
    words = [f"--config={tmp_path / 'config.json'}", "--config.seed=3"]
    assert main(["train", *words, "--workdir", str(tmp_path / "w")]) == 0
    config = calls.pop()[0]
    assert (config.model.name, config.optim.lr, config.seed) == ("pspnet_resnet50", 0.25, 3)


def test_train_chooses_a_new_workdir(calls, config_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert main(["train", f"--config={config_path}"]) == 0
        workdir = calls[-1][1]
        assert re.fullmatch(r"runs/tiny-\d{8}-\d{6}(-\d)?", workdir.as_posix())
        workdir.mkdir(parents=True)  # fails if it already exists
        assert f"workdir: {workdir}\n" in capsys.readouterr().out


@pytest.mark.parametrize("word, step", [("last", "last"), ("best", "best"), ("200", 200)])
def test_evaluate_passes_step(calls, tmp_path, word, step):
    save_config(default_config(), tmp_path / "config.json")
    assert main(["evaluate", "--workdir", str(tmp_path), "--step", word]) == 0
    assert calls == [(tmp_path, step, {})]


def test_evaluate_passes_fields(calls, tmp_path, capsys):
    save_config(default_config(), tmp_path / "config.json")
    words = ["--config.eval.protocol=sliding", "--config.eval.crop=(9, 7)", "--config.eval.flip"]
    assert main(["evaluate", "--workdir", str(tmp_path), *words]) == 0
    fields = {"eval.protocol": "sliding", "eval.crop": (9, 7), "eval.flip": True}
    assert calls == [(tmp_path, "last", fields)]
    out = capsys.readouterr().out
    assert "eval.protocol = 'sliding'\neval.crop = (9, 7)\neval.flip = True\n" in out


@pytest.mark.parametrize(
    "words, part",
    [
        (["trian"], "'train'"),
        (["--quick"], "Choose one of"),
        (["train"], "--config"),
        (["train", "--config", "none.py"], "none.py"),
        (["train", "--confg", "c.py"], "'--config'"),
        (["train", "--wor", "w"], "'--workdir'"),  # no abbreviations
        (["train", "--config", "CONFIG", "stray"], "stray"),
        (["train", "--config", "CONFIG:full"], "accepts no argument"),
        (["train", "--config", "CONFIG", "--config.lr=1"], "'optim.lr'"),
        (["train", "--config", "CONFIG", "--config.train.steps=1.5"], "train.steps"),
        (["train", "--config", "CONFIG", "--config.train.steps"], "has no value"),
        (["evaluate"], "--workdir"),
        (["models", "--data", ""], "Choose one of"),
        (["check", "--data", "scenes", "--threads", "0"], "threads is 0"),
        (["models", "--json", ""], "--json is ''"),
        (["evaluate", "--workdir", "w", "--step", "first"], "'first'"),
        (["evaluate", "--workdir", "w", "--stp", "last"], "'--step'"),
        (["evaluate", "--workdir", "w", "--config.eval.flop=true"], "'eval.flip'"),
        (["evaluate", "--workdir", "w", "--config.optim.lr=1"], "optim.lr cannot be set"),
    ],
)
def test_refusals(calls, config_path, capsys, words, part):
    words = [word.replace("CONFIG", config_path) for word in words]
    assert part in refused(capsys, *words)
    assert not calls


def test_input_error_of_the_run_itself(calls, config_path, monkeypatch, capsys):
    def train(config, workdir):
        raise InputError("No data in x.", "Bring it.")

    monkeypatch.setattr(sys.modules["jaxseg.training.loop"], "train", train)
    words = ["--config", config_path, "--workdir", "w"]
    assert refused(capsys, *words, run=train_main.main) == "error: No data in x.\nfix: Bring it.\n"


def test_other_errors_keep_their_traceback_and_interrupt_is_130(
    calls, config_path, monkeypatch, capsys
):
    errors = [KeyboardInterrupt(), RuntimeError("a defect")]

    def train(config, workdir):
        raise errors.pop(0)

    monkeypatch.setattr(sys.modules["jaxseg.training.loop"], "train", train)
    words = ["train", "--config", config_path, "--workdir", "w"]
    assert main(words) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(RuntimeError, match="a defect"):
        main(words)


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command}" in out for command in COMMANDS)
    assert main([]) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_verb_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"examples:\n  python -m jaxseg {command}" in capsys.readouterr().out


def test_as_processes(tmp_path):
    def run(*words):
        return subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )

    wrong = run("-m", "jaxseg.main", "--config", "missing.py")
    assert wrong.returncode == 2
    assert re.fullmatch(r"error: .+\nfix: .+\n", wrong.stderr) and not wrong.stdout
    assert run("-m", "jaxseg", "--help").returncode == 0
    assert not list(tmp_path.iterdir())


def test_parsing_imports_no_jax():
    """A wrong option is reported at once: the layers above training import quickly."""
    code = """if True:
        import sys
        import jaxseg.__main__, jaxseg.main, jaxseg.config, jaxseg.cli.train, jaxseg.cli.evaluate
        assert "jax" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.parametrize("module", ["jaxseg.main", "jaxseg train"])
@pytest.mark.parametrize("before", [None, "glibc.malloc.tcache_count=7", "glibc.malloc.hugetlb=0"])
def test_training_restarts_itself_once_for_huge_pages(tmp_path, module, before):
    config = tmp_path / "c.py"
    config.write_text(
        "import os, sys\n"
        "from jaxseg.errors import InputError\n"
        "def get_config():\n"
        "    raise InputError(os.environ['GLIBC_TUNABLES'], ' '.join(sys.argv[1:]))\n"
    )
    env = os.environ | {"GLIBC_TUNABLES": before} if before else dict(os.environ)
    if before is None:
        env.pop("GLIBC_TUNABLES", None)
    words = [*module.split(), "--config", str(config)]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, env=env)
    problem, remedy = done.stderr.splitlines()
    expected = {
        None: "glibc.malloc.hugetlb=1",
        "glibc.malloc.tcache_count=7": "glibc.malloc.tcache_count=7:glibc.malloc.hugetlb=1",
        "glibc.malloc.hugetlb=0": "glibc.malloc.hugetlb=0",
    }
    assert problem == f"error: {expected[before]}"
    assert remedy == f"fix: {' '.join(words[1:])}"
    assert done.returncode == 2
