"""Which files count as photographs: hidden files, links, results, and colliding names."""

import os

import pytest
from PIL import Image

from jaxseg.errors import InputError
from jaxseg.inference.image_files import find_images


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """`photos(*names)` makes photographs in the current folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


def names(*words, **how):
    return sorted(file.name for file in find_images(words, "out", **how))


@pytest.mark.parametrize("words", [["p"], ["p/**/*.jpg"]])
def test_hidden_and_system_files_are_left_out(photos, words):
    photos("p/a.jpg", "p/sub/b.jpg", "p/._a.jpg", "p/.ipynb_checkpoints/a.jpg", "p/@eaDir/a.jpg")
    photos("p/__MACOSX/a.jpg", "p/Thumbs.db", "p/$RECYCLE.BIN/x.jpg")
    assert names(*words) == ["a", "sub/b"]


def test_a_hidden_file_that_is_named_is_meant(photos):
    photos("p/.a.jpg", "p/.deep/b.jpg")
    assert names("p/.a.jpg", "p/.deep/*.jpg") == [".a", "b"]


def test_links_to_folders_are_followed_once(photos):
    photos("store/b.jpg", "p/a.jpg")
    os.symlink("../store", "p/linked")
    os.symlink("../store", "p/linked_again")
    os.symlink("..", "p/linked/up")
    assert names("p") == ["a", "linked/b"]


@pytest.mark.parametrize("words", [["p"], ["p/**/*.png"]])
def test_results_are_no_photographs(photos, words):
    photos("p/a.png", "p/old/a.png", "p/old/classes.json", "p/old/classes.png")
    photos("p/run/predictions.png", "p/run/config.json", "p/run/classes.json")
    assert names(*words) == ["a"]


def test_colliding_names_are_reported_and_the_others_continue(photos):
    photos("p/a.jpg", "p/a.png", "p/b.jpg", "q/b.jpg", "q/c.jpg")
    refused = []
    found = [file.path.as_posix() for file in find_images(["p", "q"], "out", (), refused.append)]
    assert found == ["p/a.jpg", "p/b.jpg", "q/c.jpg"]
    assert [error.problem for error in refused] == [
        "The results of p/a.jpg and p/a.png would both be named a.",
        "The results of p/b.jpg and q/b.jpg would both be named b.",
    ]
    with pytest.raises(InputError, match="would both be named a"):
        find_images(["p", "q"], "out")


def test_a_url_is_refused(photos):
    with pytest.raises(InputError, match="https://a.b/c.jpg is a URL") as error:
        find_images(["https://a.b/c.jpg"], "out")
    assert error.value.remedy.startswith("Download it")


def test_errors_name_the_kind_of_files_that_are_not_images(photos, tmp_path):
    from jaxseg.data import read_image

    for name, content, words in (
        ("a.mp4", b"\0\0\0\x20ftypisom", "a video.*ffmpeg"),
        ("b.jpg", b"<!DOCTYPE html><html>", "a web page.*download"),
        ("c.png", b"version https://git-lfs.github.com/spec/v1", "Git LFS.*git lfs pull"),
        ("d.jpg", b"", "it is empty.*Replace"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match="No such file.*Correct the path"):
        read_image(tmp_path / "none.jpg")
    Image.new("RGB", (2, 2)).save(tmp_path / "e.mp4", "PNG")  # known by its content, not its name
    assert read_image(tmp_path / "e.mp4").shape == (2, 2, 3)


def test_a_word_without_images_does_not_stop_the_others(photos):
    photos("a.jpg", "empty/x.txt")
    refused = []
    words = ["https://a.b/c.jpg", "empty", "*.bmp", "a.jpg"]
    assert [file.name for file in find_images(words, "out", (), refused.append)] == ["a"]
    assert [error.problem.partition(" ")[0] for error in refused] == [
        "https://a.b/c.jpg",
        "The",
        "No",
    ]
