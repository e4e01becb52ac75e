"""The Hugging Face Hub: its client, and a local server in its place."""

import os
import shutil
import sys
import types

import jax
import numpy as np
import pytest
from hub_server import hub_server

import jaxseg
from jaxseg.cli import run
from jaxseg.errors import InputError
from jaxseg.pretrained.hub import check_push, push


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The server, with the client set to it by its variables, which are read at import."""
    pytest.importorskip("huggingface_hub", reason="pip install '.[hub]'")
    names = [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]
    with pytest.MonkeyPatch.context() as patch, hub_server() as (hub, endpoint):
        for name in names:
            patch.delitem(sys.modules, name)
        patch.setenv("HF_ENDPOINT", endpoint)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        patch.setenv("HF_HUB_DISABLE_XET", "1")  # its protocol is not in the server
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        patch.delenv("HF_TOKEN", raising=False)
        import huggingface_hub.utils._http as client

        # repeats a failed request without a pause
        patch.setattr(client, "time", types.SimpleNamespace(sleep=lambda _: None, time=lambda: 0.0))
        yield hub
        for name in [n for n in sys.modules if n.partition(".")[0] == "huggingface_hub"]:
            del sys.modules[name]


@pytest.fixture
def hub(server, monkeypatch):
    """The server without repositories, and an empty cache."""
    server.__init__()
    monkeypatch.setenv("HF_TOKEN", server.token)
    yield server
    shutil.rmtree(os.path.join(os.environ["HF_HOME"], "hub"), ignore_errors=True)


@pytest.fixture(scope="module")
def folder(random_network, tmp_path_factory):
    """The folder of a narrow network."""
    from jaxseg.pretrained.folder import save_exported

    folder = tmp_path_factory.mktemp("narrow") / "network"
    model, variables = random_network("pspnet_resnet18", 4, width=0.03)
    save_exported(folder, "pspnet_resnet18", model, variables)
    return folder


def published(hub, folder, repository="me/streets"):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.publish(repository, files)


def refused(call):
    """The problem and the fix of an error."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value.problem, caught.value.remedy


def test_pushed_and_loaded(hub, zoo, tmp_path, capsys):
    row, _ = zoo
    words = ["convert", row.name, "--out", str(tmp_path / "network"), "--push", "hf://me/streets"]
    assert run(words) == 0
    assert f"/me/streets/commit/{hub.sha('me/streets')}" in capsys.readouterr().out
    assert set(hub.files("me/streets")) == {"model.json", "variables.safetensors", "README.md"}
    network, same = jaxseg.load("hf://me/streets@v1"), jaxseg.load(row.name)
    assert network.classes == row.classes and network.model == same.model
    jax.tree.map(np.testing.assert_array_equal, network.variables, same.variables)
    card = hub.files("me/streets")["README.md"].decode()
    head, body = card.removeprefix("---\n").split("---\n", 1)
    assert 'library_name: "jaxseg"' in head and 'license_name: "research only"' in head
    for part in ("| data | scenes |", "| mean iou | 0.2500 |", 'jaxseg.load("hf://me/streets")'):
        assert part in body
    assert all(f". {name}\n" in body for name in row.classes)


def test_the_cache_is_used_without_a_network(hub, folder, monkeypatch):
    published(hub, folder)
    network = jaxseg.load("hf://me/streets")
    hub.broken = ("/",)
    assert jaxseg.load("hf://me/streets").card["path"] == network.card["path"]
    hub.seen.clear()
    monkeypatch.setenv("JAXSEG_OFFLINE", "1")
    assert jaxseg.load("hf://me/streets").card["path"] == network.card["path"] and not hub.seen
    problem, fix = refused(lambda: jaxseg.load("hf://me/none@v1"))
    assert "not in the Hub's cache, but JAXSEG_OFFLINE is set" in problem
    assert "hf download me/none --local-dir" in fix


def test_offline_nothing_is_converted_for_an_upload(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXSEG_OFFLINE", "1")
    words = ["convert", "no_such_file.pth", "--out", str(tmp_path / "x"), "--push", "hf://me/x"]
    assert run(words) == 2
    with pytest.raises(InputError, match="Nothing can be uploaded to hf://me/x"):
        check_push("hf://me/x")


def test_what_the_hub_refuses(hub, folder, monkeypatch, capsys, tmp_path):
    published(hub, folder)
    hub.publish("me/other", {"config.json": b"{}", "model.safetensors": b"1234"})
    problem, fix = refused(lambda: jaxseg.load("hf://me/other"))
    assert problem.startswith("hf://me/other contains no jaxseg network")
    problem, fix = refused(lambda: jaxseg.load("hf://me/streets@v9"))
    assert (
        problem == "hf://me/streets@v9 cannot be downloaded: the repository has no such revision."
    )
    assert (
        fix == "Give a branch, tag or commit of hf://me/streets; then run the same command again."
    )
    none = r"there is no such repository for this user \({}\)\."
    with pytest.raises(InputError, match=none.format("404 Not Found")):
        jaxseg.load("hf://me/none")
    hub.broken = ("/api/models/me/streets",)
    problem, fix = refused(lambda: jaxseg.load("hf://me/streets"))
    assert problem.endswith("cannot be downloaded: the Hub answers 500 Internal Server Error.")
    hub.broken = ("/me/streets/resolve",)
    problem, fix = refused(lambda: jaxseg.load("hf://me/streets"))
    assert problem.endswith("the Hub answers 500 Internal Server Error.") and "Wait" in fix
    hub.broken, hub.private = (), {"me/streets"}
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=none.format("401 Unauthorized")) as caught:
        jaxseg.load("hf://me/streets")
    assert "run `hf auth login` or set HF_TOKEN" in caught.value.remedy
    problem, fix = refused(lambda: push(folder, "hf://me/new"))
    assert f"{folder} cannot be uploaded to hf://me/new: there is no such repository" in problem
    assert fix.endswith(f"run `python -m jaxseg convert {folder} --out OTHER --push hf://me/new`.")
    assert "me/new" not in hub.commits


def test_an_upload_that_breaks_off_leaves_no_commit_and_is_repeated(hub, folder):
    hub.cut = 99
    problem, fix = refused(lambda: push(folder, "hf://me/streets"))
    assert "cannot be uploaded to hf://me/streets: Server disconnected" in problem
    assert hub.commits == {"me/streets": [{}]} and "Check the network" in fix
    hub.cut = 2  # the client tries again by itself
    assert push(folder, "hf://me/streets").endswith(f"/commit/{hub.sha('me/streets')}")
    assert len(hub.files("me/streets")) == 3


def test_a_damaged_file_in_the_hub_s_cache_is_named_with_its_repository(zoo, tmp_path):
    folder = tmp_path / "models--me--streets" / "snapshots" / "0123"
    jaxseg.load(zoo[0].name).save_pretrained(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(InputError, match="model.json is damaged") as caught:
        jaxseg.load(folder)
    assert f"Remove {folder.parents[1]}, and run" in caught.value.remedy


@pytest.mark.parametrize("address", ["hf://streets", "hf://a/b/c", "hf://../x y"])
def test_no_address(address):
    with pytest.raises(InputError, match="is not the address of a Hub repository"):
        jaxseg.load(address)


def test_the_extra_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="hf:// needs huggingface_hub") as caught:
        jaxseg.load("hf://me/streets")
    assert caught.value.remedy == "pip install 'jaxseg[hub]'"
