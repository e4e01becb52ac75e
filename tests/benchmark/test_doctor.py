import json

import jax
import numpy as np
import pytest

from jaxseg.benchmark import doctor
from jaxseg.cli import run


def test_a_machine_that_is_ready(tmp_path, capsys):
    words = ["--workdir", str(tmp_path / "a" / "b"), "--data", "scenes"]
    assert run(["doctor", *words, "--json", str(tmp_path / "d.json")]) == 0
    findings = {f["name"]: f for f in json.loads((tmp_path / "d.json").read_text())}
    assert list(findings) == [
        "versions",
        "devices",
        "product",
        "sum over devices",
        "memory",
        "workdir",
        "compiled programs",
        "data",
    ]
    assert all(finding["state"] != "wrong" for finding in findings.values())
    assert jax.__version__ in findings["versions"]["text"]
    assert findings["sum over devices"]["text"] == "8 device(s) agree"
    assert findings["data"]["text"].startswith("scenes: 512 training images, 64 evaluation images")
    assert not (tmp_path / "a").exists()  # no files are left
    lines = capsys.readouterr().out.splitlines()
    assert sum(not line.startswith(" ") for line in lines) == len(findings)


def found(name, tmp_path):
    return next(f for f in doctor.examine(tmp_path) if f.name == name)


def test_a_gpu_that_jax_does_not_see(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr("glob.glob", lambda p: ["/dev/nvidia0"] if "nvidia" in p else [])
    finding = found("devices", tmp_path)
    assert finding.state == "wrong" and "this machine has a GPU" in finding.text
    assert "jaxseg[cuda]" in finding.remedy
    assert run(["doctor", "--workdir", str(tmp_path)]) == 2
    assert "WRONG    devices: 8 devices (cpu), but" in capsys.readouterr().out


def test_products_that_are_rounded_or_wrong(tmp_path, monkeypatch):
    product = jax.numpy.matmul

    def rounded(a, b):
        return product(jax.lax.reduce_precision(a, 8, 7), jax.lax.reduce_precision(b, 8, 7))

    monkeypatch.setattr("jax.numpy.matmul", rounded)
    finding = found("product", tmp_path)
    assert finding.state == "ok" and "rounds products" in finding.text
    monkeypatch.setattr("jax.numpy.matmul", lambda a, b: product(a, b).at[3, 5].add(99.0))
    assert found("product", tmp_path).state == "wrong"


def test_a_full_disk_and_a_folder_that_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 2**30}))
    assert found("workdir", tmp_path).state == "warning"

    def closed(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", closed)
    finding = found("workdir", tmp_path / "run")
    assert finding.state == "wrong" and str(tmp_path) in finding.text


def test_data_that_is_not_there(tmp_path, capsys):
    words = ["--data", "folder", "--root", str(tmp_path / "none"), "--workdir", str(tmp_path)]
    assert run(["doctor", *words]) == 2
    assert "WRONG    data: " in capsys.readouterr().out


@pytest.mark.parametrize("value", [1, 2.5])
def test_a_check_that_fails_is_a_finding(tmp_path, monkeypatch, value):
    def broken(*_, **__):
        raise RuntimeError(f"no {value}\nmore")

    monkeypatch.setattr(np, "asarray", broken)
    finding = found("product", tmp_path)
    assert (finding.state, finding.text) == ("wrong", f"RuntimeError: no {value}")
