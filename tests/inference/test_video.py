import numpy as np
import pytest

from jaxseg.cli import run
from jaxseg.visualization.palette import overlay

av = pytest.importorskip("av", reason="pip install 'jaxseg[video]'")


def write(path, frames, rate=10, codec="mpeg4"):
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def read(path):
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        return frames, file.streams.video[0].average_rate


@pytest.fixture
def film(tmp_path):
    """Five frames of flat colours, each brighter than the one before."""
    shades = (40, 80, 120, 160, 200)
    frames = [np.full((64, 96, 3), shade, np.uint8) for shade in shades]
    write(tmp_path / "film.mp4", frames)
    return tmp_path / "film.mp4"


@pytest.fixture
def command(finished, tmp_path):
    def call(*words):
        out = tmp_path / "out"
        return run(["predict", "--workdir", str(finished[0].path), "--out", str(out), *words]), out

    return call


@pytest.mark.slow
def test_every_frame_in_its_colours(film, command, finished, capsys):
    import jaxseg

    code, out = command(str(film))
    assert code == 0 and "film.overlay.mp4: 5 frames" in capsys.readouterr().out
    labelled, rate = read(out / "film.overlay.mp4")
    assert (len(labelled), rate) == (5, 10)
    network = jaxseg.load(finished[0].path)
    for shown, frame in zip(labelled, read(film)[0], strict=True):
        want = overlay(frame, network.predict(frame), network.info)
        assert np.abs(shown.astype(int) - want).mean() < 4  # lossy compression
    assert sorted(p.name for p in out.iterdir()) == ["film.overlay.mp4"]


@pytest.mark.slow
def test_a_film_beside_images_and_a_damaged_one(film, command, capsys, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film.read_bytes()[:300])
    code, out = command(str(tmp_path / "a.png"), str(cut), str(film))
    said = capsys.readouterr()
    assert code == 2 and "cut.mp4 cannot be labelled as a video" in said.err
    assert "1 image labelled" in said.out and "5 frames" in said.out  # the good files are done
    assert not list(out.glob("cut*")) and not list(out.glob(".*"))


def test_without_the_package(film, command, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command(str(film))[0] == 2
    assert "jaxseg[video]" in capsys.readouterr().err


@pytest.mark.slow
def test_an_odd_size_is_made_even(command, tmp_path, capsys):
    frames = [np.full((64, 96, 3), 90, np.uint8)] * 2
    write(tmp_path / "odd.mkv", [f[:63, :95] for f in frames], codec="ffv1")
    code, out = command(str(tmp_path / "odd.mkv"))
    assert code == 0, capsys.readouterr().err
    assert read(out / "odd.overlay.mp4")[0][0].shape == (64, 96, 3)
