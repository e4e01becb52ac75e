"""Checkpoints in a bucket, with Google's storage emulated on this machine.

Limits of the emulator: it has no permissions, no network delays, and its buckets have no
hierarchical namespace.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import jaxseg
from jaxseg.checkpoint import whole_steps
from jaxseg.checkpoint.workdir import Workdir
from jaxseg.utils.bucket import folder_at

# TensorStore needs an object's generation along with its bytes, as Google sends it.
EMULATOR = """
import contextlib
from gcp_storage_emulator.handlers import objects
from gcp_storage_emulator.exceptions import NotFound

plain = objects.download

def download(request, response, storage, *args, **kwargs):
    with contextlib.suppress(NotFound):
        found = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
        response["x-goog-generation"] = found["generation"]
    return plain(request, response, storage, *args, **kwargs)

objects.download = download
from gcp_storage_emulator.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def bucket():
    """Address of an empty bucket, which this process and its children can reach."""
    for module in ("gcsfs", "gcp_storage_emulator"):
        pytest.importorskip(
            module, reason="a bucket is played: pip install '.[gcs]' gcp-storage-emulator"
        )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-c", EMULATOR, "start", "--in-memory"]
    words += ["--port", str(port), "--default-bucket", "bucket"]
    emulator = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("localhost", port)).close()
            break
        except OSError:
            assert emulator.poll() is None and time.monotonic() < until
            time.sleep(0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
        patch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://localhost:{port}")
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # else it calls Google
        yield "gs://bucket"
    emulator.terminate()
    emulator.wait()


def names(folder):
    return {p.name for p in folder.glob("*")}


def entries(workdir):
    """The losses and scores in the log, by kind and step."""
    lines = map(json.loads, workdir.log.read_text().splitlines())
    return {(e["kind"], e["step"]): e.get("loss", e.get("mean_iou")) for e in lines}


def without_mark(folder, step, name):
    """Copies a complete checkpoint without its completion mark."""
    import fsspec

    gcs = fsspec.filesystem("gcs", use_listings_cache=False)
    gcs.copy(f"{folder}/{step}", f"{folder}/{name}", recursive=True)
    gcs.rm(f"{folder}/{name}/commit_success.txt")


@pytest.mark.slow
def test_killed_in_a_save_and_started_again(
    bucket, finished_command, words, process, tiny, restored, tmp_path
):
    finished, _ = finished_command
    address = f"{bucket}/killed"
    folder = folder_at(address)
    fields = {"checkpoint.folder": address}
    killed = Workdir(tmp_path / "run", address)

    run = process(*words(killed.path, fields), start_new_session=True)
    until = time.monotonic() + 300
    while True:  # until one checkpoint is complete and the next is being written
        assert run.poll() is None and time.monotonic() < until
        steps = whole_steps(folder)
        if steps and names(folder) - {*map(str, steps), "config.json"}:
            os.killpg(run.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    run.communicate()
    steps = whole_steps(folder)
    assert steps and steps[-1] < 40 and not killed.scores.exists()
    without_mark(folder, steps[-1], "39")
    assert whole_steps(folder) == steps
    left = sorted(names(folder) - {*map(str, steps), "config.json"})

    run = process(*words(killed.path, fields))
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert f"removed incomplete checkpoint(s): {', '.join(left)}" in out
    assert f"resuming from step {steps[-1]} of 40" in out
    assert names(folder) == names(finished.checkpoints) | {"config.json"}
    assert not (killed.path / "checkpoints").exists()
    expected, _ = restored(finished.path, tiny())
    got, position = restored(killed.path, tiny(fields))
    assert position["step"] == 40
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert entries(killed) == entries(finished)
    assert killed.scores.read_text() == finished.scores.read_text()

    # ---- readers
    from jaxseg.evaluation.evaluator import evaluate_workdir
    from jaxseg.pretrained.read import read_weights

    assert evaluate_workdir(killed.path) == evaluate_workdir(finished.path)
    best = int(min(names(finished.checkpoints), key=int))
    assert jaxseg.load(killed.path, "best").origin["step"] in (best, 40)
    weights = read_weights(killed.path).tensors
    jax.tree.map(np.testing.assert_array_equal, weights, read_weights(finished.path).tensors)

    # ---- the machine and its disk are lost
    shutil.rmtree(killed.path)
    run = process(*words(killed.path, fields))
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert "resuming from step 40 of 40" in out
    assert killed.scores.read_text() == finished.scores.read_text()
    run = process(*words(tmp_path / "another", fields | {"seed": 1}))
    out, err = run.communicate(timeout=300)
    assert run.returncode == 2 and f"{folder} contains a run with seed = 0, not 1." in err
    assert not (tmp_path / "another").exists()


@pytest.mark.slow
def test_two_machines_without_a_common_disk(bucket, words, process, tmp_path):
    """Two processes of four devices, each with its own workdir; killed, then resumed."""
    # The learning rate is so low that last-bit differences do not grow, as in test_processes.
    fields = {"train.steps": 16, "optim.lr": 0.016, "checkpoint.every_steps": 4}
    alone = Workdir(tmp_path / "alone")
    run = process(*words(alone.path, fields))
    assert (run.communicate(timeout=300)[1], run.returncode) == ("", 0)
    address = f"{bucket}/two"
    folders = [Workdir(tmp_path / str(i) / "run", address) for i in range(2)]

    def start():
        with socket.socket() as free:
            free.bind(("localhost", 0))
            place = f"localhost:{free.getsockname()[1]}"
        for index, folder in enumerate(folders):
            mine = {"COORDINATOR": place, "PROCESSES": "2", "PROCESS": str(index)}
            with pytest.MonkeyPatch.context() as patch:
                for name, value in mine.items():
                    patch.setenv(f"JAXSEG_{name}", value)
                line = words(folder.path, fields | {"checkpoint.folder": address})
                yield process(*line, "--distributed", devices=4, start_new_session=True)

    runs = list(start())
    until = time.monotonic() + 300
    while not whole_steps(folders[0].checkpoints):
        assert runs[0].poll() is None and time.monotonic() < until
        time.sleep(0.05)
    for run in runs:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    step = whole_steps(folders[0].checkpoints)[-1]
    assert step < 16
    shutil.rmtree(folders[1].path)

    runs = list(start())
    said = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert f"resuming from step {step} of 16" in said[0][0]
    assert not any((folder.path / "checkpoints").exists() for folder in folders)
    got, want = entries(folders[0]), entries(alone)
    assert got.keys() == want.keys()
    np.testing.assert_allclose(list(got.values()), list(want.values()), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_no_such_bucket(bucket, words, tmp_path, capsys):
    from jaxseg.__main__ import main

    address = "gs://missing/run"
    assert main(words(tmp_path / "run", {"checkpoint.folder": address})) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and address in told and "\nfix: " in told
    assert not (tmp_path / "run").exists()


HIDDEN = """
import sys
sys.modules["gcsfs"] = None
from jaxseg.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_without_the_package_for_buckets(words, tmp_path):
    words = words(tmp_path / "run", {"checkpoint.folder": "gs://bucket/run"})
    run = subprocess.run([sys.executable, "-c", HIDDEN, *words], capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "gs://bucket/run, but the package that accesses it is not installed" in run.stderr
    assert "\nfix: pip install 'jaxseg[gcs]'" in run.stderr
    assert not (tmp_path / "run").exists()
