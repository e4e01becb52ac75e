"""CVAT, Label Studio and YOLO: the same square in each tool's own format."""

import json

import numpy as np
import pytest
from tool_sets import data, only, photo, put

from jaxseg.data import open_data
from jaxseg.errors import InputError

SQUARE = np.zeros((12, 20), bool)
SQUARE[2:8, 3:9] = True


def cvat(root, *shapes, images=1, subset=""):
    entries = []
    for i in range(images):
        photo(root / "images" / f"{i}.png", seed=i)
        entries.append(f'<image id="{i}" name="{i}.png" width="20" height="12"{subset}>'
                       + "".join(shapes) + "</image>")  # fmt: skip
    labels = "".join(f"<label><name>{n}</name></label>" for n in ("dog", "cat"))
    about = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
    text = f"<annotations>{about}{''.join(entries)}</annotations>"
    return put(root / "annotations.xml", text)


POLYGON = '<polygon label="{}" points="3,2;9,2;9,8;3,8" z_order="{}"/>'
CVAT = {
    "polygon": POLYGON.format("cat", 0),
    "box": '<box label="cat" xtl="3" ytl="2" xbr="9" ybr="8"/>',
    "turned box": '<box label="cat" xtl="3" ytl="2" xbr="9" ybr="8" rotation="90"/>',
    "mask": '<mask label="cat" rle="0, 36" left="3" top="2" width="6" height="6"/>',
    "mask by rows": '<mask label="cat" rle="9,6,2,6,2,6,2,6,2,6,2,6,9" left="2" top="1" width="8" '
    'height="8"/>',
}


def test_cvat(tmp_path):
    for kind, shape in CVAT.items():
        cvat(tmp_path, shape)
        np.testing.assert_array_equal(only("cvat", tmp_path) == 2, SQUARE, kind)


def test_cvat_lays_by_z_order_and_knows_subsets(tmp_path):
    cvat(tmp_path, POLYGON.format("cat", 2), POLYGON.format("dog", 1), subset=' subset="Train"')
    source = open_data(data("cvat", tmp_path), "train")
    assert source.info.class_names == ("background", "dog", "cat")
    assert source[0].label[5, 5] == 2
    with pytest.raises(InputError):
        open_data(data("cvat", tmp_path), "eval")


def test_bad_cvat(tmp_path):
    cases = [
        ('<polygon label="cat" points="3,2;9,2"/>', "Shape 1 .polygon. of '0.png' .* 2 point"),
        ('<mask label="cat" rle="0,35" left="3" top="2" width="6" height="6"/>', "cover 35 pixels"),
        ('<polygon label="cow" points="3,2;9,2;9,8"/>', "'cow', which is not one of the 3 classes"),
        ('<polygon label="cat" points="3,2;9;9,8"/>', "is malformed"),
        ('<polygon points="3,2;9,2;9,8"/>', "lacks 'label'"),
    ]
    for shape, text in cases:
        cvat(tmp_path, shape)
        with pytest.raises(InputError, match=text):
            only("cvat", tmp_path)


def test_bad_cvat_files(tmp_path):
    file = cvat(tmp_path, CVAT["box"])
    (tmp_path / "images/0.png").unlink()
    with pytest.raises(InputError, match="the image 0.png, which does not exist"):
        only("cvat", tmp_path)
    for text, message in (
        ("<annotations>", "cannot be read as XML"),
        ("<a/>", "is not a CVAT XML file"),
        ("<annotations><track/></annotations>", "CVAT for video, and its frames are missing"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            only("cvat", tmp_path)


FRAME = '<polygon frame="{}" outside="{}" z_order="{}" points="3,2;9,2;9,8;3,8"/>'


def video(root, *tracks, frames=4):
    for number in range(frames):
        photo(root / f"images/frame_{number:06d}.PNG", seed=number)
    labels = "".join(f"<label><name>{n}</name></label>" for n in ("dog", "cat"))
    size = "<original_size><width>20</width><height>12</height></original_size>"
    about = f"<task><stop_frame>3</stop_frame><labels>{labels}</labels>{size}</task>"
    tracks = "".join(f'<track id="{i}" label="{n}">{t}</track>' for i, (n, t) in enumerate(tracks))
    return put(root / "a.xml", f"<annotations><meta>{about}</meta>{tracks}</annotations>")


def test_cvat_video(tmp_path):
    """Shapes exist until a track leaves the image; frames outside the task do not count."""
    dog = "".join(FRAME.format(n, 0, 1) for n in (0, 1)) + FRAME.format(2, 1, 1)
    video(tmp_path, ("dog", dog), ("cat", FRAME.format(1, 0, 0) + FRAME.format(3, 0, 0)), frames=6)
    with pytest.raises(InputError, match="Track 1 of .*a.xml has no shape on .* between 1 and 3"):
        open_data(data("cvat", tmp_path, split="1:0"), "train")
    video(tmp_path, ("dog", dog), ("cat", FRAME.format(1, 0, 0)), frames=6)
    source = open_data(data("cvat", tmp_path, split="1:0"), "train")
    assert [source.name(i) for i in range(len(source))] == [f"frame_{i:06d}" for i in range(4)]
    seen = [source[i].label[5, 5] for i in range(4)]
    assert seen == [1, 1, 0, 0] and ((source[0].label == 1) == SQUARE).all()
    assert any("look alike" in note for note in source.notes)


def test_bad_cvat_videos(tmp_path):
    video(tmp_path, ("cat", FRAME.format(9, 0, 0)))
    with pytest.raises(InputError, match="a shape on frame 9, but no image name ends in"):
        open_data(data("cvat", tmp_path, split="1:0"), "train")
    photo(tmp_path / "images/other_2.png")
    with pytest.raises(InputError, match="other_2.png and .*frame_000002.PNG are both frame 2"):
        open_data(data("cvat", tmp_path, split="1:0"), "train")


def label_studio(root, *results, number=1, **task):
    photo(root / "images/ab12cd34-a.png")
    tasks = [{"id": number, "data": {"image": "/data/upload/1/ab12cd34-a.png"},
              "annotations": [{"was_cancelled": False, "result": results}]} | task]  # fmt: skip
    return put(root / "export.json", tasks)


def result(kind, **value):
    return {"type": kind, "original_width": 20, "original_height": 12,
            "value": {kind: ["cat"]} | value}  # fmt: skip


def percent(*points):
    return [[x / 20 * 100, y / 12 * 100] for x, y in points]


LABEL_STUDIO_POLYGON = result("polygonlabels", points=percent((3, 2), (9, 2), (9, 8), (3, 8)))


def test_label_studio(tmp_path):
    corner, far = percent((3, 2), (6, 6))
    rectangle = result("rectanglelabels", x=corner[0], y=corner[1], width=far[0], height=far[1])
    for shape in (LABEL_STUDIO_POLYGON, rectangle):
        label_studio(tmp_path, {"type": "choices"}, shape)
        np.testing.assert_array_equal(only("labelstudio", tmp_path) == 1, SQUARE)


def test_brush_strokes_by_label_studios_own_converter(tmp_path):
    brush = pytest.importorskip("label_studio_converter.brush")
    rle = brush.mask2rle(SQUARE.astype(np.uint8) * 255)
    label_studio(tmp_path, result("brushlabels", format="rle", rle=rle))
    np.testing.assert_array_equal(only("labelstudio", tmp_path) == 1, SQUARE)
    label_studio(tmp_path, result("brushlabels", format="rle", rle=rle[:20]))
    with pytest.raises(InputError, match="brush stroke shape 1 .* of task 1 of .* truncated"):
        only("labelstudio", tmp_path)


def test_which_annotation_of_a_task_counts(tmp_path):
    outside = result("polygonlabels", points=percent((12, 2), (18, 2), (18, 8)))
    made = [{"was_cancelled": True, "result": []}, {"result": [outside]},
            {"result": [LABEL_STUDIO_POLYGON], "ground_truth": True}]  # fmt: skip
    label_studio(tmp_path, annotations=made)
    np.testing.assert_array_equal(only("labelstudio", tmp_path) == 1, SQUARE)
    label_studio(tmp_path, annotations=made[:1])
    with pytest.raises(InputError, match="Task 1 of .* is not annotated.*unannotated"):
        only("labelstudio", tmp_path)


def test_bad_label_studio(tmp_path):
    cases = [
        (result("polygonlabels", points=percent((3, 2), (9, 2))), "has 2 point"),
        (result("polygonlabels", points=[]), "has 0 point"),
        (result("polygonlabels", points=5), "odd number"),
        (result("polygonlabels", polygonlabels=[]), "has no label"),
        ({"type": "polygonlabels"}, "lacks 'original_width'"),
    ]
    for shape, text in cases:
        label_studio(tmp_path, shape)
        with pytest.raises(InputError, match=text):
            only("labelstudio", tmp_path)


def test_bad_label_studio_tasks(tmp_path):
    file = label_studio(tmp_path, LABEL_STUDIO_POLYGON)
    file.write_text(json.dumps(json.loads(file.read_text()) * 2))
    with pytest.raises(InputError, match="contains the task 1 twice"):
        only("labelstudio", tmp_path)
    label_studio(tmp_path, LABEL_STUDIO_POLYGON, data={"image": "s3://bucket/other.png"})
    with pytest.raises(InputError, match="the image other.png, which does not exist"):
        only("labelstudio", tmp_path)
    label_studio(tmp_path, LABEL_STUDIO_POLYGON, data={"text": "good"})
    with pytest.raises(InputError, match="Task 1 of .* has no image"):
        only("labelstudio", tmp_path)


SQUARE_LINE = "1 0.15 0.16666667 0.45 0.16666667 0.45 0.66666667 0.15 0.66666667\n"


def yolo(root, line=SQUARE_LINE, split="train", stem="a", names="[dog, cat]"):
    photo(root / "images" / split / f"{stem}.jpg")
    put(root / "labels" / split / f"{stem}.txt", line)
    return put(root / "data.yaml", f"path: /elsewhere\ntrain: images/train\nnames: {names}\n")


def test_yolo(tmp_path):
    yolo(tmp_path)
    yolo(tmp_path, "", stem="empty", names="{1: cat, 0: dog}")
    source = open_data(data("yolo", tmp_path), "train")
    np.testing.assert_array_equal(source[0].label == 2, SQUARE)
    assert not source[1].label.any()
    assert source.info.class_names == ("background", "dog", "cat")


def test_yolo_without_folders_of_splits(tmp_path):
    yolo(tmp_path, split=".")
    np.testing.assert_array_equal(only("yolo", tmp_path) == 2, SQUARE)


def test_bad_yolo(tmp_path):
    cases = [
        ("1 0.5 0.5 0.2 0.2", "Line 1 of .*a.txt is a box"),
        ("7 0.1 0.1 0.2 0.1 0.2 0.2", "the class 7"),
        ("1 3 2 9 2 9 8", "is in pixels"),
        ("1 0.1 0.1 0.2 0.1 0.2", "is a box"),
        ("1 0.1 0.1 0.2 0.1 0.2 0.3 0.4", "odd number"),
        ("cat 0.1 0.1 0.2 0.1 0.2 0.3", "is malformed"),
    ]
    for line, text in cases:
        yolo(tmp_path, SQUARE_LINE + line if "Line 1" not in text else line)
        with pytest.raises(InputError, match=text):
            open_data(data("yolo", tmp_path), "train")


def test_yolo_files_without_their_partner(tmp_path):
    yolo(tmp_path)
    photo(tmp_path / "images/train/b.jpg")
    with pytest.raises(InputError, match="b.jpg has no annotations"):
        open_data(data("yolo", tmp_path), "train")
    (tmp_path / "images/train/b.jpg").unlink()
    put(tmp_path / "labels/train/c.txt", SQUARE_LINE)
    with pytest.raises(InputError, match="c.txt has no image"):
        open_data(data("yolo", tmp_path), "train")
    put(tmp_path / "data.yaml", "names: [")
    with pytest.raises(InputError, match="data.yaml cannot be read"):
        open_data(data("yolo", tmp_path), "train")
