"""The server's answers with a fake network: protocol, limits, refusals."""

import concurrent.futures
import io
import json
import re
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="pip install '.[serve]'")
pytest.importorskip("prometheus_client", reason="pip install '.[serve]'")

from starlette.testclient import TestClient
from stub import CLASSES, served, truth

from jaxseg.serve.app import make_app
from jaxseg.serve.upload import Limits

IMAGE = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
JSON, FORM = "application/json", "multipart/form-data; boundary=x"


def file_of(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def picture(answer):
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.fixture(scope="module")
def networks():
    return served("one", "two")


@pytest.fixture(scope="module")
def client(networks):
    limits = Limits(bytes=40_000, pixels=5_000, requests=6, held=100_000)
    app = make_app(networks, limits=limits, hosts=["127.0.0.1"])
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def refused(client):
    """`refused(status, *words, data=...)`: the error has these words, and no local details."""

    def ask(status, *words, data=b"", query="", headers=None):
        answer = client.post(f"/predict{query}", content=data, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, JSON), answer.text
        told = answer.json()
        assert set(told) == {"problem", "fix"} and all(told.values())
        assert all(word in answer.text for word in words), answer.text
        assert not re.search(r"Traceback|File \"|/home|/tmp|/work|site-packages|0x", answer.text)
        return answer

    return ask


def test_json_has_classes_and_masks(client):
    answer = client.post("/predict", content=file_of(IMAGE))
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    told, (labels, probability) = answer.json(), truth(IMAGE)
    assert (told["network"], told["width"], told["height"]) == ("one", 17, 13)
    assert [c["name"] for c in told["classes"]] == list(CLASSES.class_names)
    assert [c["colour"] for c in told["classes"]][1:3] == ["#804080", "#4682b4"]
    assert [c["background"] for c in told["classes"]] == [True, False, False, False]
    for one in told["classes"]:
        mask = labels == one["index"]
        assert one["pixels"] == mask.sum() and abs(one["share"] - mask.mean()) < 1e-6
        if mask.any():
            assert abs(one["probability"] - probability[mask].mean()) < 1e-4
        else:
            assert one["probability"] is None
    assert [a["category_id"] for a in told["annotations"]] == [0, 1, 2]
    assert "png" not in told and "layers" not in told


def test_every_format_holds_the_same_labels(client):
    labels, probability = truth(IMAGE)
    answers = {
        kind: client.post(f"/predict?format={kind}&network=two", content=file_of(IMAGE))
        for kind in ("png", "overlay", "npz", "coco")
    }
    indexed = Image.open(io.BytesIO(answers["png"].content))
    assert indexed.mode == "P" and indexed.getpalette()[3:6] == list(CLASSES.palette[1])
    np.testing.assert_array_equal(np.asarray(indexed), labels)
    with np.load(io.BytesIO(answers["npz"].content)) as arrays:
        np.testing.assert_array_equal(arrays["labels"], labels)
        np.testing.assert_array_equal(arrays["probability"], probability)
        assert arrays["class_names"].tolist() == list(CLASSES.class_names)
    assert answers["overlay"].headers["content-type"] == "image/jpeg"
    assert picture(answers["overlay"]).shape == IMAGE.shape
    coco = answers["coco"].json()
    assert {"images", "categories", "annotations"} == set(coco)
    assert [a["area"] for a in coco["annotations"]] == np.bincount(labels.ravel()).tolist()


def test_layers_hold_label_and_probability(client):
    query = "/predict?format=json&include=png,layers"
    told = client.post(query, content=file_of(IMAGE)).json()
    import base64

    layers = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["layers"]))))
    np.testing.assert_array_equal(layers[..., 0], IMAGE[..., 0] // 86)
    np.testing.assert_array_equal(layers[..., 1], IMAGE[..., 1])


def test_an_image_may_come_in_a_form_and_is_upright(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(IMAGE, exif=exif)
    answer = client.post("/predict?format=png", files={"image": ("../../x.png", data)})
    np.testing.assert_array_equal(picture(answer), truth(np.rot90(IMAGE, -1))[0])


def test_requests_without_an_image_are_refused(refused):
    whole = file_of(IMAGE)
    refused(400, "no image")
    refused(400, "form", data=b"nonsense", headers={"content-type": FORM})
    refused(400, "form", data=b"x", headers={"content-type": "multipart/form-data"})
    refused(400, "no image", data=b"--x--\r\n", headers={"content-type": FORM})
    for data in (b"hello", b"\0" * 300, b"<!doctype html>", b"%PDF-1.7", whole[:90], b"BM" + whole):
        refused(415, "The image", data=data)
    refused(415, data=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    deep = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(deep, "PNG")
    refused(415, "8 bits", data=deep.getvalue())


def test_what_is_too_large_is_refused(refused, client):
    refused(413, "40,000 bytes", data=b"x" * 40_001)
    chunks = client.post("/predict", content=(b"x" * 9_000 for _ in range(9)))
    assert chunks.status_code == 413
    refused(413, "5,100 pixels", data=file_of(np.zeros((51, 100, 3), np.uint8)))
    refused(422, "8 pixels or more", data=file_of(np.zeros((5, 100, 3), np.uint8)))


def test_a_decompression_bomb_is_not_unpacked(refused):
    """A PNG with a gigantic size in its header is refused without decoding."""

    def part(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    for side in (20_000, 2**31 - 1):
        head = part(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        pixels = part(b"IDAT", zlib.compress(bytes(10**6)))
        bomb = b"\x89PNG\r\n\x1a\n" + head + pixels + part(b"IEND", b"")
        began = time.perf_counter()
        refused(413, "pixels", data=bomb)
        assert time.perf_counter() - began < 2


def test_what_does_not_exist_is_named(refused, client):
    data = file_of(IMAGE)
    refused(404, "on'", "Did you mean", data=data, query="?network=on")
    refused(400, "jpeg", "png", data=data, query="?format=jpeg")
    refused(400, "fromat", "format", data=data, query="?fromat=png")
    refused(400, "photo", data=data, query="?include=photo")
    for address in (
        "/nothing",
        "/page/../../app.py",
        "/samples/..%2f..%2fapp.png",
        "/samples/x.png",
    ):
        answer = client.get(address)
        assert answer.status_code == 404 and set(answer.json()) == {"problem", "fix"}
    answer = client.get("/predict")
    assert answer.status_code == 405 and answer.headers["allow"] == "POST"


def test_another_name_of_this_machine_is_refused(client):
    """Another site may point its own name at this address (DNS rebinding)."""
    answer = client.get("/networks", headers={"host": "evil.example"})
    assert answer.status_code == 400 and set(answer.json()) == {"problem", "fix"}
    assert "evil.example" in answer.text and '"one"' not in answer.text
    assert client.get("/networks", headers={"host": "127.0.0.1:80"}).status_code == 200


def test_a_parameter_is_never_ignored(refused):
    data = file_of(IMAGE)
    refused(400, "networks", "Did you mean 'network'", data=data, query="?networks=two")
    refused(400, "'format' is given twice", data=data, query="?format=png&format=json")
    refused(400, "only with format=json", data=data, query="?format=png&include=layers")


def test_a_full_server_says_when_to_come_back(client, networks, refused):
    stub = networks["one"].label
    data = file_of(IMAGE)
    stub.gate.clear()
    try:
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(client.post, "/predict", content=data) for _ in range(6)]
            deadline = time.monotonic() + 20
            while client.get("/health").json()["requests"] < 6 and time.monotonic() < deadline:
                time.sleep(0.01)
            full = refused(503, "server is full", data=data)
            assert int(full.headers["retry-after"]) >= 1
            stub.gate.set()
            assert [one.result().status_code for one in asked] == [200] * 6
    finally:
        stub.gate.set()
    assert client.post("/predict", content=data).status_code == 200
    assert max(map(len, stub.seen)) > 1  # some requests shared a batch


def test_bytes_of_all_requests_are_bounded():
    """Each request alone is small enough, but not all together."""
    networks = served("one")
    app = make_app(networks, limits=Limits(bytes=900, held=1600))
    with TestClient(app) as client:
        networks["one"].label.gate.clear()
        data = file_of(np.zeros((16, 20, 3), np.uint8))  # 960 bytes of pixels
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.post, "/predict", content=data)
            while client.get("/health").json()["requests"] < 1:
                time.sleep(0.01)
            time.sleep(0.1)  # the server now holds its pixels
            assert client.post("/predict", content=data).status_code == 503
            networks["one"].label.gate.set()
            assert first.result().status_code == 200
        assert client.post("/predict", content=data).status_code == 200  # all bytes were released


def test_a_failure_inside_tells_nothing_of_the_machine(client, networks, refused, caplog):
    stub, data = networks["one"].label, file_of(IMAGE)
    stub.error = RuntimeError("broken in /home/somebody/secret.py")
    try:
        refused(500, "log", data=data)
        assert "secret.py" in caplog.text
        stub.error = MemoryError()
        refused(413, "memory", data=data)
    finally:
        stub.error = None
    assert client.post("/predict", content=data).status_code == 200


def test_waiting_requests_are_answered_at_shutdown():
    networks = served("one")
    stub = networks["one"].label
    stub.gate.clear()
    with TestClient(make_app(networks)) as client:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.post, "/predict?format=png", content=file_of(IMAGE))
            threading.Timer(0.3, stub.gate.set).start()
            answer = first.result()
    np.testing.assert_array_equal(picture(answer), truth(IMAGE)[0])


def test_health_and_metrics_count(client):
    assert client.get("/health").json()["networks"] == ["one", "two"]

    def counted(name):
        text = client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0

    names = ('jaxseg_requests_total{status="200"}', 'jaxseg_requests_total{status="415"}')
    before = [counted(name) for name in names]
    images = counted('jaxseg_images_total{network="two"}')
    client.post("/predict?network=two", content=file_of(IMAGE))
    client.post("/predict?network=two", content=b"garbage")
    assert [counted(name) for name in names] == [n + 1 for n in before]
    assert counted('jaxseg_images_total{network="two"}') == images + 1


def test_the_description_names_what_there_is(client):
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    operation = described["paths"]["/predict"]["post"]
    network, form, _ = operation["parameters"]
    assert network["schema"]["enum"] == ["one", "two"]
    for kind in form["schema"]["enum"]:
        answer = client.post(f"/predict?format={kind}", content=file_of(IMAGE))
        assert answer.headers["content-type"] in operation["responses"]["200"]["content"]
    for path, methods in described["paths"].items():
        if "get" in methods:
            assert client.get(path).status_code == 200
    page = client.get("/docs").text
    assert "POST /predict" in page and "http://" not in page.replace("http://127.0.0.1:8000", "")


def test_the_page_and_its_samples_come_from_here(client):
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    links = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert set(links) == {"data:,", "/page.css", "/page.js", "/docs"}
    assert all(client.get(link).status_code == 200 for link in links if link.startswith("/"))
    told = client.get("/networks").json()
    assert [one["name"] for one in told["networks"]] == ["one", "two"]
    for name in told["samples"][:2]:
        assert picture(client.get(f"/samples/{name}.png")).shape == (384, 512, 3)
    assert json.dumps(told).count("/") == json.dumps(CLASSES.class_names).count("/") * 2
