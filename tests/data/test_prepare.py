"""Archives and records: damaged, truncated or unfinished ones are never used as a data set."""

import functools
import hashlib
import http.server
import io
import pickle
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxseg.cli import run
from jaxseg.config import default_config
from jaxseg.data import Augment, VocFolder, open_data, published, train_batches
from jaxseg.data.archives import Archive, fetch, unpack
from jaxseg.data.check import check_data
from jaxseg.data.plain_folder import write_folder
from jaxseg.data.records import Records, write_records
from jaxseg.errors import InputError


def data(root, **fields):
    config = default_config().data
    config.update({"name": "voc_folder", "root": str(root)} | fields)
    return config


# ---- archives


def tar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("make", [tar, zipped])
def test_unpacking_joins_folders(tmp_path, make):
    into = tmp_path / "unpacked"
    unpack(make(tmp_path / "one", {"a/b.txt": b"1", "a/c/d.txt": b"2"}), into)
    unpack(make(tmp_path / "two", {"a/c/e.txt": b"3"}), into)
    found = {str(p.relative_to(into)): p.read_bytes() for p in into.rglob("*") if p.is_file()}
    assert found == {"a/b.txt": b"1", "a/c/d.txt": b"2", "a/c/e.txt": b"3"}
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt"])
def test_paths_that_climb_out_are_refused(tmp_path, make, name):
    path = make(tmp_path / "archive", {"good.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match="archive contains the path .*, which points outside"):
        unpack(path, tmp_path / "deep/unpacked")
    assert {p.name for p in tmp_path.rglob("*")} <= {"archive", "deep"}


def test_links_that_climb_out_are_refused(tmp_path):
    path = tar(tmp_path / "archive", {"good.txt": b"1"}, {"link": "../../secret"})
    with pytest.raises(InputError, match="archive cannot be unpacked"):
        unpack(path, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("make", [tar, zipped])
def test_cut_off_archives_leave_nothing(tmp_path, make):
    content = np.random.default_rng(0).bytes(5000)
    path = make(tmp_path / "archive", {"a.bin": content, "b.bin": content[::-1]})
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(InputError, match="archive cannot be unpacked"):
        unpack(path, tmp_path / "unpacked")
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, also parts of files, and records the requested ranges."""

    asked: list[str | None] = []

    def do_GET(self):
        content = (Path(self.directory) / self.path[1:]).read_bytes()
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "www").mkdir()
    Ranges.asked = []
    handler = functools.partial(Ranges, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path / "www"
        running.shutdown()


def test_downloads_are_verified_and_go_on(server, tmp_path):
    url, www = server
    content = np.random.default_rng(0).bytes(3_000_000)
    (www / "a.tgz").write_bytes(content)
    archive = Archive(f"{url}/a.tgz", hashlib.md5(content).hexdigest(), "a")
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "a.tgz.part").write_bytes(content[:1_000_000])  # left by an earlier try
    said = []
    path = fetch(archive, folder, said.append)
    assert path.read_bytes() == content and Ranges.asked == ["bytes=1000000-"]
    assert [p.name for p in folder.iterdir()] == ["a.tgz"]
    fetch(archive, folder, said.append)
    assert len(Ranges.asked) == 1 and "verifying" in said[-1]


def test_wrong_checksums_are_refused(server, tmp_path):
    url, www = server
    (www / "a.tgz").write_bytes(b"other")
    archive = Archive(f"{url}/a.tgz", "0" * 32, "a")
    with pytest.raises(
        InputError, match="a.tgz.part has the MD5 sum .*, but the published one is 000"
    ):
        fetch(archive, tmp_path / "archives", print)
    assert not (tmp_path / "archives/a.tgz").exists()
    (tmp_path / "archives/a.tgz").write_bytes(b"mine")
    with pytest.raises(InputError, match="a.tgz has the MD5 sum"):
        fetch(archive, tmp_path / "archives", print)
    with pytest.raises(InputError, match="cannot be downloaded.*put the file into"):
        fetch(Archive("http://127.0.0.1:9/b.tgz", None, "b"), tmp_path / "archives", print)


# ---- records


def test_records_hold_what_the_folder_holds(devkit, tmp_path):
    source = devkit.open()
    assert write_records(source, tmp_path / "out", "train")
    copy = open_data(data(tmp_path / "out"), "train")
    assert isinstance(copy, Records) and copy.info == source.info
    assert [copy.name(i) for i in range(5)] == [source.name(i) for i in range(5)]
    assert [copy.size(i) for i in range(5)] == [source.size(i) for i in range(5)]
    for i in range(5):
        np.testing.assert_array_equal(copy[i].image, source[i].image)
        np.testing.assert_array_equal(copy[i].label, source[i].label)
    assert pickle.loads(pickle.dumps(copy))[3].name == "p3"
    found = check_data(data(tmp_path / "out", eval_split="train"))
    assert {p.kind for p in found.problems} == {"absent class"}
    with pytest.raises(InputError, match="has no split 'val'"):
        open_data(data(tmp_path / "out"), "eval")
    with pytest.raises(InputError, match="contains the prepared data set 'devkit', not 'voc2012'"):
        open_data(data(tmp_path / "out", name="voc2012"), "train")


@pytest.mark.slow
def test_worker_processes_read_records(devkit, tmp_path):
    write_records(devkit.open(), tmp_path / "out", "train")
    options = {"seed": 0, "batch_size": 4, "augment": Augment((9, 9))}
    got = []
    for source, workers in ((devkit.open(), 0), (open_data(data(tmp_path / "out"), "train"), 1)):
        batches = train_batches(source, workers=workers, **options)
        got.append(next(batches))
        batches.close()
    np.testing.assert_array_equal(got[0].image, got[1].image)


def test_an_interrupted_split_is_not_used_and_can_be_repeated(devkit, tmp_path):
    devkit.list("val", ["p1"])
    out = tmp_path / "out"
    write_records(VocFolder(devkit.root, "val"), out, "val")
    path = devkit.root / "JPEGImages/p3.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="p3.jpg cannot be decoded"):
        write_records(devkit.open(), out, "train")
    with pytest.raises(InputError, match="has no split 'train'"):
        Records(out, "train")
    assert sorted(p.name for p in out.iterdir()) == ["records.json", "val.array_record"]
    path.write_bytes(whole)
    assert write_records(devkit.open(), out, "train")
    assert not write_records(devkit.open(), out, "train")  # already written
    assert (len(Records(out, "train")), len(Records(out, "val"))) == (5, 1)


def test_a_full_disk_leaves_no_half_made_split(devkit, tmp_path):
    """Simulated by a limit on file size, which makes the same system calls fail."""
    code = (
        "import resource, signal, sys\n"
        "from jaxseg.data import VocFolder\n"
        "from jaxseg.data.records import write_records\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "source = VocFolder(sys.argv[1], 'train')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))\n"
        "write_records(source, __import__('pathlib').Path(sys.argv[2]), 'train')\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(devkit.root), str(out)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert "InputError" in run.stderr and "Free some space there" in run.stderr
    assert list(out.iterdir()) == []
    assert write_records(devkit.open(), out, "train")


def test_damaged_records_are_named(devkit, tmp_path):
    write_records(devkit.open(), tmp_path, "train")
    path = tmp_path / "train.array_record"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="train.array_record is damaged.*prepare the data"):
        Records(tmp_path, "train")[4]
    (tmp_path / "records.json").write_text("{")
    with pytest.raises(InputError, match="records.json cannot be read"):
        Records(tmp_path, "train")


# ---- the command


def test_the_command_converts_a_folder(devkit, tmp_path, capsys):
    devkit.list("val", ["p1", "p2"])
    words = ["prepare", "--dataset", "voc_folder", "--root", str(devkit.root),
             "--data-dir", str(tmp_path / "data")]  # fmt: skip
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "train: 5 examples written" in out and "val: 2 examples written" in out
    name, root = out.splitlines()[-1].split()
    assert name == "--config.data.name=voc_folder"
    assert len(open_data(data(root.partition("=")[2]), "eval")) == 2
    assert run(words) == 0
    assert "train: 5 examples already written" in capsys.readouterr().out
    assert run(["prepare", "--dataset", "cityscapes", "--data-dir", str(tmp_path)]) == 2
    assert "leftImg8bit_trainvaltest.zip" in capsys.readouterr().err


def test_the_command_takes_archives_on_disk(devkit, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    devkit.list("val", ["p1"])
    folder = tmp_path / "data/archives"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "voc.tar", "w") as archive:
        archive.add(devkit.root, "VOCdevkit/VOC2012")
    md5 = hashlib.md5((folder / "voc.tar").read_bytes()).hexdigest()
    voc = Archive("http://127.0.0.1:9/voc.tar", md5, "VOCdevkit/VOC2012")
    sets = {"voc2012": ((voc,), "VOCdevkit/VOC2012", ("train", "val"))}
    monkeypatch.setattr(published, "PUBLISHED", sets)
    assert run(["prepare", "voc2012", "--data-dir", str(tmp_path / "data")]) == 0
    source = open_data(data(tmp_path / "data/voc2012", name="voc2012"), "train")
    assert (len(source), source.info.name, source.info.splits["train"]) == (5, "voc2012", 1464)
    # afterwards the name alone is enough
    by_name = default_config().data
    by_name.name = "voc2012"
    assert isinstance(open_data(by_name, "train"), Records)
    assert len(open_data(by_name, "eval")) == 1
    assert {s: f.images for s, f in check_data(by_name).splits.items()} == {"train": 5, "val": 1}
    # but an explicit root takes precedence, and a folder that is gone is not searched for
    with pytest.raises(InputError, match="PASCAL VOC 2012 is not in .*nowhere"):
        open_data(data(tmp_path / "nowhere", name="voc2012"), "train")
    (tmp_path / "data/voc2012").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="config.data.root is not set"):
        open_data(by_name, "train")


def test_a_plain_folder_equals_the_data_set(devkit, tmp_path, capsys):
    """Photos are copied byte for byte, except rotated ones; masks keep their colours."""
    exif = Image.Exif()
    exif[0x0112] = 6
    devkit.photo("p1", np.random.default_rng(5).integers(0, 256, (1, 5, 3), np.uint8), exif=exif)
    devkit.mask("p1", np.zeros((5, 1), np.uint8))
    devkit.list("val", ["p1"])
    words = ["prepare", "voc_folder", "--root", str(devkit.root), "--data-dir", str(tmp_path),
             "--as", "folder"]  # fmt: skip
    assert run(words) == 0, capsys.readouterr().err
    name, root = capsys.readouterr().out.splitlines()[-1].split()
    assert name == "--config.data.name=folder"
    made, given = data(root.partition("=")[2], name="folder"), data(devkit.root)
    for split in ("train", "eval"):
        ours, theirs = open_data(made, split), open_data(given, split)
        assert ours.info.class_names == theirs.info.class_names
        assert ours.info.palette == theirs.info.palette
        for i in range(len(theirs)):
            np.testing.assert_array_equal(ours[i].image, theirs[i].image)
            np.testing.assert_array_equal(ours[i].label, theirs[i].label)
    folder = tmp_path / "voc_folder_folder"
    photo = folder / "images/train/p0.jpg"
    assert photo.read_bytes() == (devkit.root / "JPEGImages/p0.jpg").read_bytes()
    assert (folder / "images/train/p1.png").is_file()
    with Image.open(folder / "masks/train/p0.png") as mask:
        assert mask.mode == "P"
    assert run(words) == 0
    assert "train: 5 examples already written" in capsys.readouterr().out
    assert not [p for p in folder.rglob("*") if "unfinished" in p.name]


def test_half_of_a_plain_folder_is_made_anew(devkit, tmp_path):
    folder = tmp_path / "made"
    devkit.text("JPEGImages/p2.jpg", "nothing")
    with pytest.raises(InputError, match="p2.jpg"):
        write_folder(devkit.open(), folder, "train")
    assert not list((folder / "images").iterdir()) and not list((folder / "masks").iterdir())
    (folder / "classes.txt").write_text("others\n")
    with pytest.raises(InputError, match="lists other classes"):
        write_folder(devkit.open(), folder, "train")
