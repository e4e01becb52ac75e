"""The page in a browser: a file is dropped, the slider moves, classes are switched."""

import base64
import io
import re
import socket
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="pip install '.[serve]'")

import uvicorn
from devtools import browser
from stub import served

from jaxseg.serve.app import make_app

pytestmark = pytest.mark.slow

# A drawn photograph: the left half is class 0, the right half class 1, at 100/255.
DROP = """
const canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [64, 32];
const drawing = canvas.getContext("2d");
drawing.fillStyle = "rgb(10 100 0)"; drawing.fillRect(0, 0, 32, 32);
drawing.fillStyle = "rgb(120 100 0)"; drawing.fillRect(32, 0, 32, 32);
const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
const data = new DataTransfer();
data.items.add(new File([blob], "NAME", { type: "image/png" }));
const options = { bubbles: true, cancelable: true, dataTransfer: data };
document.querySelector("#drop").dispatchEvent(new DragEvent("drop", options));
"""
LOOK = """
const view = document.querySelectorAll(".view")[0];
const overlay = view.querySelector(".overlay");
const pixel = (x) => [...overlay.getContext("2d").getImageData(x, 9, 1, 1).data];
const paper = getComputedStyle(document.body);
return {
  left: pixel(5), right: pixel(50), opacity: getComputedStyle(overlay).opacity,
  tips: [...document.querySelectorAll(".tip:not([hidden])")].map((tip) => tip.textContent),
  names: [...view.querySelectorAll(".word")].map((word) => word.textContent),
  message: document.querySelector("#message").textContent,
  wide: document.documentElement.scrollWidth, inner: innerWidth,
  past: [...document.querySelectorAll("body *")].filter(
    (e) => e.getBoundingClientRect().right > innerWidth + 0.5).length,
  paper: paper.backgroundColor, ink: paper.color,
  views: document.querySelectorAll(".view").length,
};
"""
HOVER = """
const stage = document.querySelector(".stage"), box = stage.getBoundingClientRect();
stage.dispatchEvent(new PointerEvent("pointermove", {
  clientX: box.left + box.width * 0.8, clientY: box.top + box.height / 2, pointerType: "mouse" }));
"""
DOWNLOAD = """
window.saved = [];
HTMLAnchorElement.prototype.click = function () { saved.push([this.download, this.href]); };
const buttons = document.querySelector(".downloads").querySelectorAll("button");
for (const button of buttons) button.click();
while (saved.length < 4) await new Promise((done) => setTimeout(done, 20));
const sizes = await Promise.all(saved.map(async ([name, address]) => {
  const blob = await (await fetch(address)).blob();
  return [name, blob.type, blob.size];
}));
return sizes.sort();
"""
READY = "document.querySelectorAll('.legend li').length && !document.querySelector('#message.busy')"


@pytest.fixture(scope="module")
def address():
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(served("one", "two")), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def tab():
    with browser() as tab:
        yield tab


def dropped(tab, name="street.png"):
    tab.wait("document.querySelectorAll('#samples button').length")
    tab.run(DROP.replace("NAME", name))
    tab.wait(READY)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True), (320, False)])
def test_a_photograph_is_dropped_and_labelled(tab, address, width, dark):
    tab.problems.clear()
    tab.open(f"{address}/", width, dark=dark)
    dropped(tab)
    seen = tab.run(LOOK)
    assert seen["views"] == 2 and seen["message"].startswith("street: 64×32 pixels")
    assert seen["names"] == ["background", "<b>road</b> & more"]
    assert seen["left"][3] == 0 and seen["right"] == [128, 64, 128, 255]  # background is clear
    assert seen["wide"] <= width == seen["inner"] and seen["past"] == 0
    paper, ink = (sum(map(int, re.findall(r"\d+", seen[k])[:3])) for k in ("paper", "ink"))
    assert (paper < ink) == dark

    move = "const mix = document.querySelector('#mix'); mix.value = VALUE;"
    for value in ("0", "1", "0.25"):
        tab.run(move.replace("VALUE", value) + "mix.dispatchEvent(new Event('input'));")
        assert tab.run(LOOK)["opacity"] == value
    tab.run(HOVER)
    assert tab.run(LOOK)["tips"] == ["<b>road</b> & more, 39 %"] * 2
    tab.run("document.querySelectorAll('.legend input')[1].click()")
    assert tab.run(LOOK)["right"][3] == 0
    tab.run("document.querySelector('.switches button').click()")
    assert [tab.run(LOOK)[k] for k in ("left", "right")] == [[0, 0, 0, 255], [128, 64, 128, 255]]
    assert tab.problems == []


def test_results_are_saved(tab, address):
    tab.problems.clear()
    tab.open(f"{address}/", 1280)
    dropped(tab)
    # the page's policy forbids fetching its own blobs, so the test reads them another way
    tab.call("Page.setBypassCSP", enabled=True)
    tab.open(f"{address}/", 1280)
    dropped(tab)
    saved = tab.run(DOWNLOAD)
    assert [(name, kind) for name, kind, _ in saved] == [
        ("street.one.coco.json", "application/json"),
        ("street.one.json", "application/json"),
        ("street.one.overlay.png", "image/png"),
        ("street.one.png", "image/png"),
    ]
    assert all(size > 60 for *_, size in saved)
    assert tab.problems == []


def test_a_file_that_is_not_a_photograph_gives_an_error(tab, address):
    tab.open(f"{address}/", 1280)
    tab.wait("document.querySelectorAll('#samples button').length")
    tab.run(
        "const data = new DataTransfer(); data.items.add(new File(['words'], 'notes.txt'));"
        "document.dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));"
    )
    tab.wait("document.querySelector('#message.bad')")
    assert "notes.txt" in tab.run("return document.querySelector('#message').textContent")


def test_an_image_that_only_the_browser_can_read(tab, address):
    """The server refuses PNGs of 16 bits; the page then sends what it displays."""
    deep = io.BytesIO()
    Image.fromarray(np.full((20, 30), 128 * 256, np.uint16)).save(deep, "PNG")
    tab.open(f"{address}/", 1280)
    tab.wait("document.querySelectorAll('#samples button').length")
    tab.run(
        f"const bytes = Uint8Array.from(atob('{base64.b64encode(deep.getvalue()).decode()}'), "
        "(letter) => letter.charCodeAt(0)); const data = new DataTransfer();"
        "data.items.add(new File([bytes], 'deep.png', { type: 'image/png' }));"
        "document.dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));"
    )
    tab.wait(READY)
    seen = tab.run(LOOK)
    assert seen["message"].startswith("deep: 30×20 pixels") and len(seen["names"]) == 1
