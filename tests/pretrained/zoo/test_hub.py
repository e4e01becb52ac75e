"""The Hugging Face Hub, with a fake client that keeps repositories in folders."""

import pathlib
import shutil
import sys
import types

import pytest

import jaxseg
from jaxseg.cli import run
from jaxseg.errors import InputError
from jaxseg.pretrained.hub import check_push, fetch_repository, push


class Hub(types.ModuleType):
    """The functions of huggingface_hub that jaxseg calls."""

    def __init__(self, root):
        super().__init__("huggingface_hub")
        self.root, self.calls = pathlib.Path(root), []

    def snapshot_download(self, repo_id, *, revision, allow_patterns, local_files_only):
        self.calls.append((repo_id, revision, local_files_only))
        folder = self.root / repo_id
        if not folder.is_dir():
            raise RuntimeError(f"404 Client Error.\n\nRepository {repo_id} not found.\nMore lines.")
        return str(folder)

    def HfApi(self):
        return self

    def create_repo(self, repo_id, *, exist_ok):
        assert exist_ok
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)

    def CommitOperationAdd(self, path_in_repo, path_or_fileobj):
        return path_in_repo, path_or_fileobj

    def create_commit(self, repo_id, *, operations, commit_message, revision):
        for name, content in operations:
            there = self.root / repo_id / name
            if isinstance(content, bytes):
                there.write_bytes(content)
            else:
                shutil.copyfile(content, there)
        return types.SimpleNamespace(commit_url=f"https://hub.invalid/{repo_id}/commit/1")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    stand_in = Hub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    return stand_in


def test_pushed_and_loaded(hub, zoo, tmp_path, capsys):
    row, _ = zoo
    words = ["convert", row.name, "--out", str(tmp_path / "network"), "--push", "hf://me/streets"]
    assert run(words) == 0
    assert "https://hub.invalid/me/streets/commit/1" in capsys.readouterr().out
    network = jaxseg.load("hf://me/streets@v1")
    assert hub.calls == [("me/streets", "v1", False)]
    assert network.classes == row.classes and network.model == jaxseg.load(row.name).model
    card = (hub.root / "me/streets/README.md").read_text()
    head, body = card.removeprefix("---\n").split("---\n", 1)
    assert 'library_name: "jaxseg"' in head and 'license_name: "research only"' in head
    for part in ("| data | scenes |", "| mean iou | 0.2500 |", 'jaxseg.load("hf://me/streets")'):
        assert part in body
    assert all(f". {name}\n" in body for name in row.classes)


def test_offline_asks_for_local_files(hub, monkeypatch):
    (hub.root / "me/empty").mkdir(parents=True)
    monkeypatch.setenv("JAXSEG_OFFLINE", "1")
    with pytest.raises(InputError, match="hf://me/empty contains no jaxseg network"):
        jaxseg.load("hf://me/empty")
    assert hub.calls == [("me/empty", None, True)]


def test_offline_the_file_to_bring_is_named(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("JAXSEG_OFFLINE", "1")
    with pytest.raises(InputError, match="not in the Hub's cache, but JAXSEG_OFFLINE") as caught:
        jaxseg.load("hf://me/none@v1")
    assert "hf download me/none --local-dir" in caught.value.remedy
    words = ["convert", "no_such_file.pth", "--out", str(tmp_path / "x"), "--push", "hf://me/x"]
    assert run(words) == 2  # before anything is converted
    with pytest.raises(InputError, match="Nothing can be uploaded to hf://me/x"):
        check_push("hf://me/x")


def test_a_refused_upload(hub, zoo, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise RuntimeError("401 Unauthorized")

    monkeypatch.setattr(hub, "create_repo", refuse)
    words = ["convert", zoo[0].name, "--out", str(tmp_path / "network"), "--push", "hf://me/x"]
    assert run(words) == 2
    error = capsys.readouterr().err
    assert "network cannot be uploaded to hf://me/x: 401 Unauthorized." in error
    assert (tmp_path / "network" / "model.json").is_file()


def test_a_damaged_file_in_the_hub_s_cache_is_named_with_its_repository(hub, zoo, tmp_path):
    folder = tmp_path / "models--me--streets" / "snapshots" / "0123"
    jaxseg.load(zoo[0].name).save_pretrained(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(InputError, match="model.json is damaged") as caught:
        jaxseg.load(folder)
    assert f"Remove {folder.parents[1]}, and run" in caught.value.remedy


def test_no_such_repository(hub):
    with pytest.raises(
        InputError, match=r"downloaded: 404 Client Error\. Repository me/none not found\."
    ) as caught:
        fetch_repository("hf://me/none")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["hf://streets", "hf://a/b/c", "hf://../x y"])
def test_no_address(address):
    with pytest.raises(InputError, match="is not the address of a Hub repository"):
        jaxseg.load(address)


def test_the_extra_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="hf:// needs huggingface_hub") as caught:
        jaxseg.load("hf://me/streets")
    assert caught.value.remedy == "pip install 'jaxseg[hub]'"


def test_the_calls_are_those_of_the_client():
    """The fake accepts the package's arguments, checked where the package is installed."""
    import inspect

    client = pytest.importorskip("huggingface_hub")
    for function, names in (
        (client.snapshot_download, Hub.snapshot_download),
        (client.HfApi.create_repo, Hub.create_repo),
        (client.HfApi.create_commit, Hub.create_commit),
        (client.CommitOperationAdd, Hub.CommitOperationAdd),
    ):
        wanted = set(inspect.signature(names).parameters) - {"self"}
        assert wanted <= set(inspect.signature(function).parameters)
    assert push
