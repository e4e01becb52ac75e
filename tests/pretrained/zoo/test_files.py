"""Files of the zoo from servers that redirect, break off, are slow, or send the wrong bytes."""

import dataclasses
import errno
import hashlib
import multiprocessing
import os
import socket

import numpy as np
import pytest
from file_server import serving

from jaxseg.errors import InputError
from jaxseg.pretrained.zoo import files
from jaxseg.pretrained.zoo.cache import cache_folder, files_folder
from jaxseg.pretrained.zoo.files import fetch
from jaxseg.pretrained.zoo.rows import find
from jaxseg.utils import download as download_module

DATA = np.random.default_rng(0).bytes(300_000)
ROW = dataclasses.replace(
    find("pspnet_r50_ade20k"),
    file="weights.pth",
    checksum=f"sha256:{hashlib.sha256(DATA).hexdigest()[:8]}",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download_module.time, "sleep", lambda seconds: None)
    for name in ("JAXSEG_OFFLINE", "JAXSEG_ZOO_MIRROR", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / ROW.file).write_bytes(DATA)
    with serving(folder) as (url, faults, seen):
        yield dataclasses.replace(ROW, url=f"{url}/somewhere/{ROW.file}"), faults, seen


@pytest.mark.parametrize(
    ("todo", "requests"),
    [
        ([], 1),
        (["redirect"], 2),
        (["slow"], 1),
        (["break", "break"], 3),
        (["break without a length"], 2),
        (["break", "no ranges"], 2),
        ([503, "redirect", "break"], 4),
    ],
)
def test_a_file_comes_whole(served, todo, requests):
    row, faults, seen = served
    if todo[:1] == [503]:  # with a partial file, a failure at the start ends at once
        todo = ["break", *todo]
        requests += 1
    faults += todo
    path = fetch(row)
    assert path == files_folder() / row.file and path.read_bytes() == DATA
    broken = any(fault in todo for fault in ("break", "break without a length"))
    assert len(seen) == requests and (seen[-1][1] is not None) == broken
    assert fetch(row) == path and len(seen) == requests
    assert not list(path.parent.glob("*.part"))


def test_a_partial_download_is_resumed(served):
    row, _, seen = served
    files_folder().mkdir(parents=True)
    (files_folder() / f"{row.file}.part").write_bytes(DATA[:1000])
    assert fetch(row).read_bytes() == DATA
    assert seen[0][1] == "bytes=1000-"


def test_a_complete_part_file_is_no_error(served):
    row, _, _ = served
    files_folder().mkdir(parents=True)
    (files_folder() / f"{row.file}.part").write_bytes(DATA)
    assert fetch(row).read_bytes() == DATA


def test_wrong_bytes_are_kept_aside_and_named(served):
    row, faults, _ = served
    other = dataclasses.replace(row, checksum="sha256:00000000")
    aside = files_folder() / f"{row.file}.wrong"
    with pytest.raises(InputError, match="The SHA256 of .* begins with 00000000") as caught:
        fetch(other)
    assert str(aside) in caught.value.problem and aside.read_bytes() == DATA
    assert not (files_folder() / row.file).exists()
    assert fetch(row).read_bytes() == DATA  # downloads from the start


@pytest.mark.parametrize("kind", ["sha1", "md5", "sha256", None])
def test_checksums_of_each_kind(served, kind):
    row, _, _ = served
    right = None if kind is None else f"{kind}:{hashlib.new(kind, DATA).hexdigest()}"
    assert fetch(dataclasses.replace(row, checksum=right)).is_file()


@pytest.mark.parametrize("code", [403, 404])
def test_a_server_that_refuses(served, code):
    row, faults, seen = served
    faults.append(code)
    with pytest.raises(InputError, match=f"returned {code} ") as caught:
        fetch(row)
    assert str(files_folder() / row.file) in caught.value.remedy and len(seen) == 1


def test_no_network():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    row = dataclasses.replace(ROW, url=f"http://127.0.0.1:{port}/{ROW.file}")
    with pytest.raises(
        InputError, match=f"needs the file {ROW.file}.* cannot be reached"
    ) as caught:
        fetch(row)
    assert row.url in caught.value.remedy and str(files_folder() / row.file) in caught.value.remedy


def test_offline_needs_the_cache_alone(served, monkeypatch):
    row, _, seen = served
    monkeypatch.setenv("JAXSEG_OFFLINE", "1")
    with pytest.raises(InputError, match=f"{row.file}, which is not in the cache") as caught:
        fetch(row)
    assert row.url in caught.value.remedy and str(files_folder() / row.file) in caught.value.remedy
    (files_folder() / row.file).write_bytes(DATA)  # copied there by the user
    assert fetch(row).read_bytes() == DATA and not seen
    (files_folder() / row.file).write_bytes(DATA[:-1])
    with pytest.raises(InputError, match="the file is damaged or a different one"):
        fetch(row)


def test_a_mirror(served, monkeypatch):
    row, _, seen = served
    monkeypatch.setenv("JAXSEG_ZOO_MIRROR", row.url.rpartition("/somewhere/")[0] + "/mirror/")
    assert fetch(dataclasses.replace(row, url="https://nowhere.invalid/x")).read_bytes() == DATA
    assert seen == [(f"/mirror/{row.file}", None)]
    monkeypatch.setenv("JAXSEG_ZOO_MIRROR", "no address")
    with pytest.raises(InputError, match="is not a valid URL"):
        fetch(dataclasses.replace(row, file="other.pth"))


def test_a_proxy(served, monkeypatch):
    row, _, seen = served
    monkeypatch.setenv("http_proxy", row.url.rpartition("/somewhere/")[0])
    monkeypatch.setenv("no_proxy", "")
    there = f"http://far.invalid/{row.file}"
    assert fetch(dataclasses.replace(row, url=there)).read_bytes() == DATA
    assert seen[0][0] == there


def test_a_proxy_that_does_not_answer_is_named(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}/")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(InputError, match=rf"through the proxy 127\.0\.0\.1:{port}: ") as caught:
        fetch(dataclasses.replace(ROW, url=f"https://far.invalid/{ROW.file}"))
    assert "secret" not in str(caught.value)


def test_a_licence_that_is_not_permissive_is_said_once(served, capfd):
    row, faults, _ = served
    row = dataclasses.replace(row, licence="research only")
    faults.append(404)
    with pytest.raises(InputError):
        fetch(row)
    assert not capfd.readouterr().err  # there is nothing to use yet
    fetch(row)
    assert "licence of pspnet_r50_ade20k: research only" in capfd.readouterr().err
    assert fetch(row).is_file() and not capfd.readouterr().err
    other = dataclasses.replace(row, file="by_hand.pth")
    (files_folder() / other.file).write_bytes(DATA)
    fetch(other)
    assert "research only" in capfd.readouterr().err


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "taken"))
    with pytest.raises(InputError, match="The cache folder .* cannot be written") as caught:
        fetch(ROW)
    assert "Set JAXSEG_CACHE" in caught.value.remedy


def test_a_full_disk(served, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "download", full)
    with pytest.raises(InputError, match="No space left") as caught:
        fetch(served[0])
    assert "Set JAXSEG_CACHE" in caught.value.remedy


def _fetch(row, results):
    results.put(fetch(row).read_bytes() == DATA)


@pytest.mark.slow
def test_only_one_of_many_processes_downloads(served):
    row, faults, seen = served
    faults.append("slow")
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    processes = [context.Process(target=_fetch, args=(row, results)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [results.get() for _ in processes] == 4 * [True]
    assert len(seen) == 1


def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch):
    monkeypatch.delenv("JAXSEG_CACHE")
    assert cache_folder().name == "jaxseg" and cache_folder().is_absolute()
