"""Damaged or hostile archives: each gives an error and leaves no files."""

import bz2
import gzip
import io
import lzma
import shutil
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from jaxseg.data import archive_contents
from jaxseg.data.archives import unpack
from jaxseg.errors import InputError

CONTENT = np.random.default_rng(0).bytes(2000)


def tar(*names, content=CONTENT, format=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(*names, method=zipfile.ZIP_STORED, content=CONTENT):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name in names:
            archive.writestr(name, content)
    return out.getvalue()


def changed(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def listed(data, at, new, entry=0):
    """Replaces bytes at offset `at` of an entry in a zip file's central directory."""
    place = -1
    for _ in range(entry + 1):
        place = data.index(b"PK\1\2", place + 1)
    return changed(data, place + at, new)


def everywhere(data, at, listed_at, new):
    """Puts the same bytes into a file's own header and into the central directory."""
    return listed(changed(data, at, new), listed_at, new)


NAMES = ("a", "b", "c")
MEMBER = 512 + 2048  # bytes that a file takes in such a tar
ZIP, TAR = zipped(*NAMES), tar(*NAMES)
DEFLATED = zipped("a", method=zipfile.ZIP_DEFLATED, content=b"ab" * 5000)


def middle(data):
    return changed(data, len(data) // 2, b"\xff" * 8)


DAMAGED = {
    "encrypted": (everywhere(ZIP, 6, 8, b"\1"), "'a' is encrypted"),
    "unknown method": (everywhere(ZIP, 8, 10, b"\x63"), "method 99"),
    "zip: bytes of a file": (changed(ZIP, 100, b"\0\0\0\0"), "CRC"),
    "zip: stream": (changed(DEFLATED, 32, b"\xff\xff\xff\xff"), "."),
    "zip: header of the middle file": (changed(ZIP, ZIP.index(b"PK\3\4", 4), b"XXXX"), "."),
    "zip: list of contents": (listed(ZIP, 0, b"XXXX", entry=1), "central directory"),
    "zip: fewer files than it says": (
        changed(ZIP, len(ZIP) - 12, b"\4\0"),
        "table of contents is incomplete",
    ),
    "zip: two files of one name": (ZIP.replace(b"b", b"a"), "two of its files have the same name"),
    "zip: size too small": (everywhere(ZIP, 22, 24, struct.pack("<I", 10)), "."),
    "zip: size too large": (listed(DEFLATED, 24, struct.pack("<I", 20_000)), "."),
    "zip: size far too large": (everywhere(DEFLATED, 22, 24, b"\xff\xff\xff\x7f"), "."),
    "zip: name without end": (listed(ZIP, 28, b"\xff\xff"), "."),
    "zip: name that is no text": (listed(changed(ZIP, 30, b"\xff"), 9, b"\x08"), "."),
    "zip: name too long": (zipped("n" * 300), "name too long"),
    "tar: a file that is a folder, too": (tar("a", "a/b"), "."),
    "tar: header of the middle file": (changed(TAR, MEMBER + 20, b"XX"), "header .* is damaged"),
    "tar: header that is missing": (changed(TAR, MEMBER, bytes(MEMBER)), "header .* is missing"),
    "tar: cut in a header": (TAR[: MEMBER + 100], "damaged"),
    "tar: cut in a file": (TAR[: MEMBER - 700], "."),
    "gzip: stream": (middle(gzip.compress(tar("a", content=b"ab" * 50_000))), "."),
    "gzip: stored bytes": (changed(gzip.compress(TAR, 0), 900, b"\0\0\0\0"), "CRC"),
    "gzip: cut": (gzip.compress(TAR)[:-20], "."),
    "bzip2": (middle(bz2.compress(TAR)), "."),
    "xz": (middle(lzma.compress(TAR)), "."),
    "no archive": (CONTENT, "."),
    "empty": (b"", "."),
}


def refused(tmp_path, data, message):
    path = tmp_path / "archive"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"archive .*{message}") as error:
        unpack(path, tmp_path / "unpacked")
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]
    return error.value


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_an_error_and_leaves_no_files(tmp_path, kind):
    data, message = DAMAGED[kind]
    assert refused(tmp_path, data, message).remedy == "Replace it with the published archive."


@pytest.mark.parametrize(
    "data",
    [ZIP, DEFLATED, TAR, TAR[: 3 * MEMBER], bz2.compress(TAR), lzma.compress(TAR)]
    + [gzip.compress(TAR), gzip.compress(TAR) + b"more", tar(*NAMES, format=tarfile.PAX_FORMAT)],
    ids=["zip", "deflated", "tar", "no end", "bz2", "xz", "gz", "gz and more", "pax"],
)
def test_whole_archives_are_unpacked(tmp_path, data):
    (tmp_path / "archive").write_bytes(data)
    unpack(tmp_path / "archive", tmp_path / "unpacked")
    found = {p.name: p.read_bytes() for p in (tmp_path / "unpacked").iterdir()}
    assert found == ({"a": b"ab" * 5000} if data is DEFLATED else dict.fromkeys(NAMES, CONTENT))


@pytest.mark.parametrize("make", [zipped, tar])
def test_more_than_the_disk_holds_is_told_before_anything_is_written(tmp_path, monkeypatch, make):
    usage = shutil.disk_usage(tmp_path)._replace(free=5000)
    monkeypatch.setattr(archive_contents.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(tarfile.TarFile, "extractall", None)
    assert "Free some space" in refused(tmp_path, make(*NAMES), "needs .* has only").remedy


def header(kind, size):
    member = tarfile.TarInfo("n")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


LISTS = {
    "zip": zipped("a")[:2031] + zipped("a")[2031:-22] * 60_000,
    "tar": gzip.compress(header(tarfile.REGTYPE, 0) * 12_000),
    "a name": gzip.compress(header(tarfile.GNUTYPE_LONGNAME, 30 << 20) + bytes(30 << 20)),
    "names for names": gzip.compress((header(tarfile.GNUTYPE_LONGNAME, 512) + bytes(512)) * 2500),
}


@pytest.mark.parametrize("kind", LISTS)
def test_long_lists_of_contents_cost_little_memory(tmp_path, monkeypatch, kind):
    data = LISTS[kind]
    if kind == "zip":
        size = struct.pack("<II", len(data) - 2031, 2031)
        data += b"PK\5\6" + bytes(4) + struct.pack("<HH", 60_000, 60_000) + size + b"\0\0"
    monkeypatch.setattr(archive_contents, "_MAX_TAR", 2 << 20)
    monkeypatch.setattr(archive_contents, "_MAX_ZIP", 2 << 20)
    tracemalloc.start()
    refused(tmp_path, data, "too long|recursion")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
