"""The report in a browser: its slider moves, nothing is fetched, it fits on a phone."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from report_runs import made_up_runs

from jaxseg.report import page

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
FLAGS += ["--enable-logging=stderr"]  # includes the console's messages
SCHEMES = ("dark", "light")

STOPS = ("truth", "prediction", "errors")

# Runs in the page: moves the first slider, clicks its stops, and records the results.
PROBE = """
const image = document.querySelector(".image");
const slider = image.querySelector("input");
const [photo, truth, prediction, errors] = image.querySelectorAll("img");
const look = (name) => ({
  name, value: slider.value, told: slider.getAttribute("aria-valuetext"),
  truth: getComputedStyle(truth).clipPath, prediction: getComputedStyle(prediction).clipPath,
  errors: getComputedStyle(errors).clipPath, photo: getComputedStyle(photo).filter,
  pressed: [...image.querySelectorAll("button")].map((b) => b.getAttribute("aria-pressed")),
  edge: getComputedStyle(image.querySelector(".edge")).display,
});
const seen = [look("start")];
slider.value = "0.5"; slider.dispatchEvent(new Event("input")); seen.push(look("half"));
slider.stepUp(); slider.dispatchEvent(new Event("input")); seen.push(look("step"));
image.querySelectorAll("button")[3].click(); seen.push(look("errors"));
image.querySelectorAll("button")[0].click(); seen.push(look("photo"));
slider.focus();
const wide = [...document.querySelectorAll("body *")].filter(
  (e) => !e.closest(".scroll, svg, .view") && e.getBoundingClientRect().right > innerWidth + 0.5);
const told = {
  seen, focused: document.activeElement === slider,
  fetched: performance.getEntriesByType("resource").map((e) => e.name),
  broken: [...document.images].filter((i) => !i.naturalWidth).length,
  width: document.documentElement.scrollWidth, inner: innerWidth,
  wide: wide.map((e) => e.tagName + "." + e.className),
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
};
"""
TELL = "parent.document.body.append(JSON.stringify(told))"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """`browser(page, *flags)`: Chromium's standard output and standard error."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: looked for {', '.join(BROWSERS)}")

    def show(path, *flags):
        profile = tmp_path_factory.mktemp("profile")
        words = [program, *FLAGS, f"--user-data-dir={profile}", *flags, path.as_uri()]
        shown = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert shown.returncode == 0, shown.stderr
        return shown.stdout, shown.stderr

    return show


@pytest.fixture(scope="module")
def report():
    """A page of three runs, with long names."""
    runs = made_up_runs(["fcn8s", "deconvnet_with_a_long_name_without_any_space", "pspnet"])
    return page.page_text(runs, 1)


def scheme_flag(scheme):
    return f"--blink-settings=preferredColorScheme={SCHEMES.index(scheme)}"


def left_and_right(clip):
    """Per cent cut off at the left and at the right by a `clip-path: inset(...)`."""
    values = [float(v) for v in re.findall(r"[\d.]+", clip)]
    _, right, _, left = {1: values * 4, 2: values * 2, 4: values}[len(values)]
    return left, right


def probed(browser, folder, report, scheme, width):
    """The results of `PROBE` in a frame of `width` pixels, and the browser's messages."""
    # delayed, so that any resource that the page requests has arrived
    later = f"addEventListener('load', () => setTimeout(() => {{ {PROBE} {TELL} }}, 300))"
    framed = html.escape(report.replace("</body>", f"<script>{later}</script></body>"))
    outer = folder / "outer.html"
    outer.write_text(
        f'<body><iframe width="{width}" height="3000" srcdoc="{framed}"></iframe></body>',
        encoding="utf-8",
    )
    dom, messages = browser(outer, "--dump-dom", "--virtual-time-budget=5000", scheme_flag(scheme))
    told = re.search(r"</iframe>(\{.*\})\s*</body>", dom, re.S)
    assert told, messages
    return json.loads(html.unescape(told.group(1))), messages


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390), ("light", 320)])
def test_the_page_works(browser, report, tmp_path, scheme, width):
    told, messages = probed(browser, tmp_path, report, scheme, width)
    assert "CONSOLE" not in messages, messages
    assert all(name.startswith("data:") for name in told["fetched"]) and told["broken"] == 0
    assert told["inner"] == width and told["width"] <= width and told["wide"] == []
    assert told["dark"] == (scheme == "dark")
    paper, ink = (sum(map(int, re.findall(r"\d+", told[k])[:3])) for k in ("paper", "ink"))
    assert (paper < ink) == (scheme == "dark")
    start, half, step, errors, photo = told["seen"]
    assert [s["told"] for s in (start, errors, photo)] == ["prediction", "errors", "photo"]
    assert [s["pressed"].index("true") for s in (start, errors, photo)] == [2, 3, 0]
    assert [s["edge"] for s in (start, half, errors)] == ["none", "block", "none"]
    cut = {s["name"]: {k: left_and_right(s[k]) for k in STOPS} for s in told["seen"]}
    whole, off, gone = (0, 0), (0, 100), (100, 0)
    assert cut["start"] == {"truth": gone, "prediction": whole, "errors": off}
    assert cut["half"] == {"truth": (0, 50), "prediction": off, "errors": off}
    assert cut["step"]["truth"] == (0, 45) and half["told"] == "truth over photo, from the left"
    assert cut["errors"] == {"truth": gone, "prediction": gone, "errors": whole}
    assert cut["photo"] == dict.fromkeys(STOPS, off)
    assert errors["photo"] == "grayscale(1)" and photo["photo"] == "grayscale(0)"
    assert told["focused"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_of_it(browser, report, tmp_path, scheme):
    """The theme is applied, and the bars have the runs' colours."""
    path, picture = tmp_path / "page.html", tmp_path / "page.png"
    path.write_text(report, encoding="utf-8")
    browser(path, f"--screenshot={picture}", "--window-size=1280,1200", scheme_flag(scheme))
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    style = (page._HERE / "page.css").read_text()
    theme = re.findall(r":root \{([^}]*--heat[^}]*)\}", style)[scheme == "dark"]
    for name, least in (("paper", 500_000), ("c0", 2000), ("c1", 2000), ("c2", 2000)):
        code = re.search(rf"--{name}: #(\w{{6}})", theme).group(1)
        colour = [int(code[i : i + 2], 16) for i in (0, 2, 4)]
        assert (pixels == colour).all(axis=1).sum() > least, name
