"""The scripts in launch/: the commands they run, and their reactions to the results."""

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from jaxseg.cli.config_options import read_stages, split_overrides

SCRIPTS = ["gpu_box.sh", "slurm.sbatch", "tpu_vm_pod.sh"]
WORDS = [
    "--config",
    "my configs/a.py:b",
    "--config.augment.crop=(65, 65)",
    "--workdir",
    "it's here",
]


@pytest.fixture
def launch(repository, tmp_path):
    """`launch(script, *words)`: runs it in `tmp_path`; programs in `tmp_path/bin` come first."""
    (tmp_path / "bin").mkdir()

    def start(script, *words, **env):
        how = [sys.executable] if script.endswith(".py") else ["bash"]
        return subprocess.run(
            [*how, str(repository / "launch" / script), *words],
            cwd=tmp_path,
            env=os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"} | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return start


@pytest.fixture
def program(tmp_path):
    """`program(name, script)`: writes a fake for a program that is not installed here."""

    def make(name, script):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)

    return make


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck(repository, script):
    places = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    shellcheck = shutil.which("shellcheck", path=places)
    if shellcheck is None:
        pytest.skip("shellcheck is missing: pip install '.[dev]'")
    subprocess.run([shellcheck, str(repository / "launch" / script)], check=True)


@pytest.mark.parametrize("script", [*SCRIPTS, "local.py"])
def test_the_command_at_the_top_can_be_copied(repository, launch, script):
    """It calls this script, its config exists, and the resulting command has all of its words."""
    text = (repository / "launch" / script).read_text().replace("\\\n#", " ").replace("\\\n", " ")
    commands = re.findall(
        r"^#?\s+(?:python |sbatch .*)?(launch/.*--config .*)$", text, re.MULTILINE
    )
    assert commands
    for command in commands:
        name, *words = shlex.split(command, comments=True)
        assert name == f"launch/{script}"
        config = words[words.index("--config") + 1].partition(":")[0]
        assert (repository / config).is_file(), config
        ran = launch(script, "--dry-run", *words)
        assert (ran.returncode, ran.stderr) == (0, "")
        for line in ran.stdout.splitlines():
            for word in words[words.index("--config") :]:
                assert word in line


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_arguments_the_usage_is_printed(launch, script):
    ran = launch(script)
    assert ran.returncode == 2 and "usage: " in ran.stderr and not ran.stdout


def test_gpu_box(launch):
    ran = launch("gpu_box.sh", "--dry-run", "--gpus", "0,1", *WORDS)
    environment = ["env", "JAX_PLATFORMS=cuda", "CUDA_VISIBLE_DEVICES=0,1"]
    command = [*environment, "python", "-m", "jaxseg", "train", *WORDS]
    assert shlex.split(ran.stdout) == command
    ran = launch("gpu_box.sh", "--dry-run", *WORDS, PYTHON="/v/python")
    assert shlex.split(ran.stdout)[:3] == ["env", "JAX_PLATFORMS=cuda", "/v/python"]


def test_slurm(launch):
    ran = launch("slurm.sbatch", "--dry-run", *WORDS)
    command = ["srun", "python", "-m", "jaxseg", "train", "--distributed", *WORDS]
    assert shlex.split(ran.stdout) == command


@pytest.mark.parametrize("code", [0, 2, 75])
def test_slurm_queues_a_saved_run_again(launch, program, tmp_path, code):
    program("srun", f'printf "%s\\n" "$@" > srun.txt; exit {code}')
    program("scontrol", 'echo "$@" > scontrol.txt')
    ran = launch("slurm.sbatch", *WORDS, SLURM_JOB_ID="17")
    assert ran.returncode == code
    assert (tmp_path / "srun.txt").read_text().splitlines()[-len(WORDS) :] == WORDS
    queued = tmp_path / "scontrol.txt"
    assert (queued.read_text() if queued.exists() else None) == (
        "requeue 17\n" if code == 75 else None
    )


def test_pod(launch, program, repository, tmp_path):
    """With a fake `gcloud` that runs the hosts' commands on this machine."""
    program("gcloud", 'echo "$@" >> gcloud.txt; for w in "$@"; do last=$w; done; '
            'bash -c "${last#--command=}"')  # fmt: skip
    python = tmp_path / "jaxseg" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/usr/bin/env bash\necho "$JAX_PLATFORMS $JAX_COMPILATION_CACHE_DIR" > settings.txt\n'
        'printf "%s\\n" "$@" > words.txt\nexec sleep 60\n'
    )
    python.chmod(0o755)

    cache = {"JAX_COMPILATION_CACHE_DIR": "gs://bucket/two words"}
    ran = launch("tpu_vm_pod.sh", "pod", "zone", "start", *WORDS, **cache)
    assert (ran.returncode, ran.stderr) == (0, "")
    number = int((tmp_path / "jaxseg" / "run.pid").read_text())
    os.kill(number, 0)  # the process runs
    launch("tpu_vm_pod.sh", "pod", "zone", "stop")
    for _ in range(100):
        if not os.path.exists(f"/proc/{number}"):
            break
        subprocess.run(["sleep", "0.05"], check=True)
    else:
        pytest.fail("it was not stopped")
    settings = (tmp_path / "jaxseg" / "settings.txt").read_text()
    assert settings == "tpu gs://bucket/two words\n"  # so that a host without a TPU fails
    words = (tmp_path / "jaxseg" / "words.txt").read_text().splitlines()
    assert words == ["-m", "jaxseg", "train", "--distributed", *WORDS]
    told = (tmp_path / "gcloud.txt").read_text().splitlines()
    assert [line.split("--command")[0] for line in told] == [
        f"compute tpus tpu-vm ssh pod --zone=zone --worker={hosts} " for hosts in ("all", "0")
    ]


def test_pod_install(launch):
    ran = launch("tpu_vm_pod.sh", "--dry-run", "pod", "zone", "install")
    commands = [shlex.split(line) for line in ran.stdout.splitlines()]
    assert [command[0] for command in commands] == ["git", "gcloud", "gcloud"]
    assert "--worker=all" in commands[1] and "--worker=all" in commands[2]
    assert "uv venv --quiet --allow-existing --python 3.12 venv" in commands[2][-1]
    assert "pip install --quiet --python venv/bin/python -e '.[tpu]'" in commands[2][-1]


def test_gke_manifest(repository):
    """`train` accepts its arguments; hosts, chips and names are consistent."""
    path = repository / "launch" / "gke_tpu.yaml"
    service, job = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = math.prod(map(int, topology.split("x")))
    limit = container["resources"]["limits"]["google.com/tpu"]
    assert spec["completions"] == spec["parallelism"] == chips // limit
    assert spec["completionMode"] == "Indexed" and pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    environment = {e["name"]: e["value"] for e in container["env"]}
    assert environment["JAX_PLATFORMS"] == "tpu"
    command, *words = container["args"]
    options, overrides = split_overrides(words)
    assert command == "train" and "--distributed" in options and "--workdir" in options
    config = options[options.index("--config") + 1]
    ((_, read),) = read_stages(str(repository / config), overrides)
    assert read.checkpoint.folder.startswith("gs://")


def test_container_file(repository):
    """The copied files exist, and the installed extras are declared."""
    text = (repository / "launch" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {words[0] for words in lines} == known
    for words in lines:
        if words[0] == "COPY":
            assert all((repository / source).exists() for source in words[1:-1]), words
    with open(repository / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert '".[${EXTRA},gcs]"' in text and {"cuda", "tpu", "gcs"} <= set(extras)


def test_local(launch):
    words = ["--processes", "2", "--devices", "3", "--dry-run", "--", "train", *WORDS]
    ran = launch("local.py", *words, XLA_FLAGS="--a --xla_force_host_platform_device_count=8")
    commands = [shlex.split(line) for line in ran.stdout.splitlines()]
    environments = [dict(w.split("=", 1) for w in c[1 : c.index(sys.executable)]) for c in commands]
    for index, (command, environment) in enumerate(zip(commands, environments, strict=True)):
        assert command[-len(WORDS) - 4 :] == ["-m", "jaxseg", "train", *WORDS, "--distributed"]
        assert environment["JAXSEG_PROCESS"] == str(index)
        assert environment["JAXSEG_PROCESSES"] == "2"
        assert environment["XLA_FLAGS"] == "--a --xla_force_host_platform_device_count=3"
    assert len({e["JAXSEG_COORDINATOR"] for e in environments}) == 1

    ran = launch("local.py", "--processes", "2", "--dry-run", "--", "loop.py", "--word")
    for index, line in enumerate(ran.stdout.splitlines()):
        assert shlex.split(line)[-3:] == [sys.executable, "loop.py", "--word"]
        assert f"CUDA_VISIBLE_DEVICES={index}" in line
