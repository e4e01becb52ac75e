"""The report's numbers and its page; the browser's view of it is in test_report_browser.py."""

import base64
import html.parser
import importlib.resources
import io
import json
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from report_runs import made_up_runs

import jaxseg
from jaxseg.cli import run
from jaxseg.errors import InputError
from jaxseg.report import page
from jaxseg.report.charts import Series, line_chart
from jaxseg.report.folds import are_folds, joined
from jaxseg.report.gallery import choose_images, gallery
from jaxseg.report.matrix import confusion_chart
from jaxseg.report.measure import measure, read_log
from jaxseg.report.runs import check_same_images, open_runs
from jaxseg.report.tables import class_bars, config_tables, score_table


@pytest.fixture(scope="module")
def measured(finished):
    """The tiny run that conftest trains, as measured for the report."""
    workdir = finished[0]
    return measure("tiny", open_runs([workdir.path])["run"])


def test_the_numbers_are_those_of_training(measured, finished, restored, tiny):
    scores = finished[1]
    assert measured.step == scores["step"] == 40 and measured.finished
    for key in ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou"):
        assert measured.scores[key] == pytest.approx(scores[key], abs=1e-12)
    source = measured.source
    model = jaxseg.create_model(
        "fcn8s_vgg16", 6, width=0.03, fc_channels=128, norm="batch", padding=1, dropout=0.1
    )
    state, _ = restored(finished[0].path, tiny())
    assert measured.parameters == sum(a.size for a in jax.tree.leaves(state.params))
    for index in range(len(source)):
        example = source[index]
        want = jaxseg.predict(model, state.variables, example.image)
        got = measured.prediction(index)
        assert (got == want).mean() > 0.999  # batches of eight may round a tie differently
        known = example.label != 255
        iou = [
            (known & (got == c) & (example.label == c)).sum()
            / (known & ((got == c) | (example.label == c))).sum()
            for c in range(6)
            if (known & ((got == c) | (example.label == c))).any()
        ]
        assert measured.image_iou[index] == pytest.approx(np.mean(iou), abs=1e-12)
        pixels = [(example.label == c).sum() for c in range(6)]
        assert measured.image_pixels[index].tolist() == pixels
    assert measured.confusion.sum() == measured.image_pixels.sum()
    assert [e["step"] for e in measured.log if e["kind"] == "eval"] == [20, 40]
    assert 0 < measured.images_per_second < np.inf and measured.batch_size == 8


def test_a_log_may_be_cut_off(tmp_path):
    log = tmp_path / "metrics.jsonl"
    assert read_log(log) == []
    log.write_text('{"kind": "train", "step": 1, "loss": NaN}\n{"kind": "tr')
    (entry,) = read_log(log)
    assert entry["step"] == 1 and np.isnan(entry["loss"])


def test_images_are_chosen_once():
    iou = np.array([[0.9, 0.1, np.nan, 0.5, 0.6], [0.7, 0.3, 0.2, 0.5, 0.0]])
    assert choose_images(iou, 1) == {
        "Best": [0],
        "Worst": [1],
        "Where the runs differ most": [4],
    }
    assert choose_images(iou, 3) == {"Best": [0, 3], "Worst": [1, 4]}
    assert choose_images(iou[:1, :1], 3) == {"Best": [0]}
    assert choose_images(iou[:1, 2:3], 3) == {}
    assert choose_images(np.ones((2, 3)), 1) == {"Best": [0], "Worst": [2]}  # runs do not differ


def points(svg: str, mark: str) -> list[tuple[float, float]]:
    path = re.search(rf'class="run0 {mark}" d="M([^"]+)"', svg).group(1)
    return [tuple(map(float, pair.split())) for pair in path.split("L")]


def test_lines_pass_through_their_values():
    svg = line_chart("t", [Series("a", 0, [0, 5, 10], [0.0, 1.0, 0.5])], "x", unit=True)
    assert points(svg, "line") == [(46, 196), (205, 10), (364, 103)]
    svg = line_chart("t", [Series("a", 0, [0, 5, 10], [2.0, np.nan, 8.0])], "x")
    assert points(svg, "line") == [(46, 149.5), (364, 10)]  # values that are not finite are omitted
    assert "from 2 to 8" in svg
    assert line_chart("t", [Series("a", 0, [], []), Series("b", 1, [1], [np.inf])], "x") == ""
    assert 'cx="364.0"' in line_chart("t", [Series("a", 0, [3], [1.0])], "x")
    line_chart("t", [Series("a", 0, [0], [0.0])], "x")  # no division by zero


def test_smooth_lines_keep_the_values_in_sight():
    rng = np.random.default_rng(0)
    y = 1 + rng.random(100)
    svg = line_chart("t", [Series("a", 0, range(100), y)], "x", smooth=True)
    raw, mean = points(svg, "faint"), points(svg, "line")
    assert len(raw) == len(mean) == 100
    assert np.std(mean, axis=0)[1] < 0.6 * np.std(raw, axis=0)[1]
    constant = line_chart("t", [Series("a", 0, range(100), [2.0] * 100)], "x", smooth=True)
    assert len({y for _, y in points(constant, "line")}) == 1  # also at the ends


def test_a_confusion_matrix_shows_shares_of_rows():
    confusion = np.array([[60, 20, 0], [1, 299, 0], [0, 0, 0]])
    svg = confusion_chart(confusion, ["a<b", "long " * 9, "c"])
    assert re.findall(r'y="[\d.]+">(\d+)</text>', svg) == ["75", "25", "100"]
    assert svg.count('class="cell"') == 3  # a third of a per cent is not drawn
    assert "a&lt;b" in svg and "a<b" not in svg and "long long long lo…" in svg
    assert "a&lt;b seen as long" in svg
    many = confusion_chart(np.eye(150, dtype=int), ["class"] * 150)
    assert len(many) < 100_000 and ">100<" not in many


def test_colours_keep_apart_from_the_paper():
    """WCAG 2 contrast: text 4.5, graphics 3; numbers at every depth of the heat map 4.5."""

    def light(colour):
        parts = np.array(colour) / 255
        parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return parts @ [0.2126, 0.7152, 0.0722]

    def contrast(a, b):
        low, high = sorted((light(a), light(b)))
        return (high + 0.05) / (low + 0.05)

    def number_is_pale(percent):
        """Whether a cell's number is drawn in the pale colour; the smallest shares have none."""
        svg = confusion_chart(np.array([[100 - percent, percent], [0, 1]]), ["a", "b"])
        drawn = re.findall(r'class="middle( on)?" [^>]*>(\d+)<', svg)
        return (" on", str(percent)) not in drawn

    style = importlib.resources.files("jaxseg.report").joinpath("page.css").read_text()
    themes = re.findall(r":root \{([^}]*--heat[^}]*)\}", style)
    assert len(themes) == 2
    for theme in themes:
        colour = {
            name: np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], float)
            for name, code in re.findall(r"--(\w+): #(\w{6})", theme)
        }
        paper = colour["paper"]
        assert contrast(colour["ink"], paper) > 12 and contrast(colour["soft"], paper) > 5
        assert contrast(colour["c0"], paper) > 4.5  # links
        assert min(contrast(colour[f"c{k}"], paper) for k in range(8)) > 3
        for percent in range(101):
            alpha = 0.06 + 0.94 * percent / 100
            cell = alpha * colour["heat"] + (1 - alpha) * paper
            assert contrast(colour["pale" if number_is_pale(percent) else "deep"], cell) > 4.5


class Checker(html.parser.HTMLParser):
    """Checks that every element is closed, pictures have a text, and ids are unique."""

    EMPTY = ("meta", "link", "img", "input", "br")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.images = [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "img":
            self.images.append(found)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def pixels(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))


def test_a_page_of_runs_with_odd_names(tmp_path):
    runs = made_up_runs(['<b>&"one', "two", "three"])
    text = page.page_text(runs, 2)
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and len(set(checker.ids)) == len(checker.ids)
    assert all(image["alt"] and image["src"].startswith("data:") for image in checker.images)
    assert not re.search(r"(?:src|href)=\"(?!data:|#)|https?:|@import|url\(", text)
    assert "<b>&" not in text and "&lt;b&gt;&amp;&quot;one, two and three on scenes" in text
    for run_ in runs:
        assert f"{run_.scores['mean_iou']:.3f}" in text
    best = max(run_.scores["mean_iou"] for run_ in runs)
    assert f"<b>{best:.3f}</b>" in text


def test_pictures_are_what_was_scored():
    runs = made_up_runs(["one", "two"])
    checker = Checker()
    checker.feed(gallery(runs, 1))
    info = runs[0].source.info
    chosen = choose_images(np.array([r.image_iou for r in runs]), 1)
    images = iter(checker.images)
    for (index,) in chosen.values():
        example = runs[0].source[index]
        for run_ in runs:
            photo, truth, prediction, errors = (pixels(next(images)["src"]) for _ in range(4))
            difference = np.asarray(photo).astype(int) - example.image
            assert np.abs(difference).mean() < 8  # JPEG differs a little
            np.testing.assert_array_equal(truth, example.label)
            np.testing.assert_array_equal(prediction, run_.prediction(index))
            wrong = (example.label != 255) & (run_.prediction(index) != example.label)
            drawn = np.asarray(errors)
            np.testing.assert_array_equal(drawn[..., 0] == 214, wrong)
            np.testing.assert_array_equal(drawn[..., 3] == 0, ~wrong & (example.label != 255))
            colour = prediction.convert("RGB").getpixel((3, 4))
            assert colour == info.palette[run_.prediction(index)[4, 3]]
    assert next(images, None) is None


def test_tables_tell_what_is_there():
    one, two = made_up_runs(["one", "two"])
    two.config.train.steps = 99
    two.config.optim.lr = 0.5
    table = score_table([one, two])
    assert '<td data-label="step">7 of 99</td>' in table and "has not reached" in table
    assert "left out of the means" in table and "1.23 M" in table and "56×40" in table
    assert "has not reached" not in score_table([one]) and "<b>" not in score_table([one])
    bars = class_bars([one, two])
    assert bars.count('class="bar run0"') == bars.count('class="bar run1"') == 6
    assert bars.count("absent") == 2  # the class that is neither labelled nor predicted
    assert bars.index("absent") > bars.rindex(">0.")
    fields = config_tables([one, two])
    first = fields[: fields.index("<details>")]
    assert '<tr class="differ"><th scope="row">optim.lr</th><td>0.01</td><td>0.5</td>' in first
    assert "optim.momentum" not in first and "optim.momentum" in fields


def test_folds_are_shown_together():
    runs = made_up_runs(["one", "two", "three"])
    for k, run_ in enumerate(runs):
        run_.config.data.fold = f"{k}/5"
    together = joined(runs)
    assert len(together.source) == 21 and together.confusion.sum() == 3 * runs[0].confusion.sum()
    assert together.source.name(8) == runs[1].source.name(1)
    np.testing.assert_array_equal(together.prediction(8), runs[1].prediction(1))
    assert together.image_iou[20] == runs[2].image_iou[6]
    text = page.page_text(runs, 2)
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and "3 of 5 folds: 21 images" in text
    iou = [run_.scores["mean_iou"] for run_ in runs]
    rows = [
        np.mean(iou),
        np.std(iou, ddof=1),
        jaxseg.metrics.scores(together.confusion)["mean_iou"],
    ]
    for row in rows:
        assert f'<td data-label="mean IoU">{row:.3f}</td>' in text
    assert "<b>" not in text[: text.index('id="classes"')]
    assert {i["alt"] for i in checker.images if i["alt"].startswith("Prediction")} and all(
        "of all folds" in i["alt"] for i in checker.images if i["alt"].startswith("Prediction")
    )
    runs[2].config.data.group = "^[a-z]+"
    assert not are_folds([run_.config for run_ in runs])


def words(out, *workdirs):
    return ["report", "--workdir", *map(str, workdirs), "--out", str(out)]


@pytest.mark.slow
def test_the_command(finished, tmp_path, capsys):
    """Two runs, one of them unfinished, with activations."""
    other = shutil.copytree(finished[0].path, tmp_path / "other")
    config = json.loads((other / "config.json").read_text()) | {"train.steps": 60}
    (other / "config.json").write_text(json.dumps(config))
    out = tmp_path / "page.html"
    more = ["--images", "1", "--activations", "--class", "disc", "--config.eval.boundary"]
    assert run([*words(out, finished[0].path, other), *more]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    text = out.read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert f"{finished[1]['mean_iou']:.3f}" in text and "40 of 60" in text
    assert text.count('data-label="boundary IoU"><b>0.') == 2  # equal scores: both are best
    assert "Protocol: whole images." in text
    assert {"scores", "classes", "confusion", "learning", "images", "layers", "config"} == set(
        checker.ids
    )
    layers = [i["alt"] for i in checker.images if i["alt"].startswith("run: ")]
    assert layers[:4] == ["run: photo", "run: truth", "run: prediction", "run: where disc is"]
    assert "run: fuse_pool4 2x2" in layers


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--images", "0"], "--images is 0"),
        (["--class", "disc"], "--class works only with --activations"),
        (["--activations", "--class", "disk"], "'disc'"),
        (["--step", "7"], "no checkpoint '7'"),
        (["--step", "x"], "--step is 'x'"),
        (["--config.optim.lr=1"], "cannot be set for a trained network"),
        (["--config.eval.input_size=(0, 5)"], "eval.input_size"),
    ],
)
def test_refusals(finished, tmp_path, capsys, more, part):
    out = tmp_path / "page.html"
    assert run([*words(out, finished[0].path), *more]) == 2
    assert part in capsys.readouterr().err and not out.exists()


@pytest.mark.slow
def test_refused_places(finished, tmp_path, capsys):
    for place, part in ((tmp_path, "is a folder"), (tmp_path / "no" / "p.html", "is not a folder")):
        assert run(words(place, finished[0].path)) == 2
        assert part in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(words(tmp_path / "p.html", finished[0].path, empty)) == 2
    assert "no config.json" in capsys.readouterr().err
    shutil.copy(finished[0].config, empty)
    assert run(words(tmp_path / "p.html", finished[0].path, empty)) == 2
    assert "contains no checkpoint" in capsys.readouterr().err
    assert run(words(tmp_path / "p.html", *[finished[0].path] * 2)) == 2
    assert "Two workdirs have the name run" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("data.scenes_size", [32, 40], "of 40×32 and so on"),
        ("data.scenes_eval", 6, "6 images"),
    ],
)
def test_runs_on_other_images_do_not_compare(finished, tmp_path, field, value, part):
    other = shutil.copytree(finished[0].path, tmp_path / "other")
    config = json.loads((other / "config.json").read_text()) | {field: value}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=part):
        check_same_images(open_runs([finished[0].path, other]))
