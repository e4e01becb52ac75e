"""A server process under load: 32 clients, 500 requests, mixed sizes, 5 % invalid files."""

import collections
import concurrent.futures
import io
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="pip install '.[serve]'")

import jaxseg
from jaxseg.cli import run
from jaxseg.pretrained.folder import save_exported

SIZES = ((48, 64), (64, 64), (60, 90), (70, 128), (128, 100), (33, 200))
CLIENTS, REQUESTS, GARBAGE = 32, 500, 20  # every 20th request is invalid


@pytest.fixture(scope="module")
def network(random_network, tmp_path_factory):
    """The folder of a narrow PSPNet, and the network."""
    folder = tmp_path_factory.mktemp("network") / "narrow"
    model, variables = random_network("pspnet_resnet50", 4, depth=14, width=0.06)
    save_exported(folder, "pspnet_resnet50", model, variables)
    return folder, jaxseg.load(folder)


def started(process, *words, **options):
    """Starts a serving process; returns it and its address."""
    serving = process("serve", *words, "--port", 0, devices=1, **options)
    lines = []
    for line in serving.stdout:
        lines.append(line)
        if found := re.match(r"http://\S+", line):
            return serving, found[0]
    raise AssertionError("".join(lines) + serving.stderr.read())


def post(address, data):
    """(status, body) of a prediction; repeats the request while the server is full."""
    while True:
        request = urllib.request.Request(f"{address}/predict?format=npz", data=data, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 503:
                    return error.code, error.read()
                time.sleep(float(error.headers["Retry-After"]))


def counted(address, name):
    text = urllib.request.urlopen(f"{address}/metrics").read().decode()
    return sum(float(v) for v in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.M))


@pytest.mark.nightly
def test_no_answer_is_wrong_and_none_is_lost(network, process):
    folder, alone = network
    rng = np.random.default_rng(0)
    images, files, want = [], [], []
    for size in SIZES:
        for _ in range(2):
            images.append(rng.integers(0, 256, (*size, 3), np.uint8))
            file = io.BytesIO()
            Image.fromarray(images[-1]).save(file, "PNG")
            files.append(file.getvalue())
            want.append(alone.predict(images[-1]))

    def agrees(got, k):
        """Labels may differ only where the logits of two classes are nearly equal."""
        if got.shape != want[k].shape or (got == want[k]).all():
            return got.shape == want[k].shape
        top = np.sort(alone._inference.logits(alone.variables, images[k]), axis=-1)
        return (top[..., -1] - top[..., -2])[got != want[k]].max() < 1e-4

    serving, address = started(process, folder)
    began, memory = time.perf_counter(), []

    def ask(i):
        if i % GARBAGE == 0:
            return i, *post(address, files[i % len(files)][: 40 + i % 60])
        return i, *post(address, files[i % len(files)])

    statuses = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        for done, (i, status, body) in enumerate(pool.map(ask, range(REQUESTS))):
            statuses[status] += 1
            assert (status == 415) == (i % GARBAGE == 0), (i, status, body)
            if status == 200:
                assert agrees(np.load(io.BytesIO(body))["labels"], i % len(files))
            if done % 100 == 99:
                memory.append(counted(address, "process_resident_memory_bytes"))
    seconds = time.perf_counter() - began
    compiled = counted(address, "jaxseg_compilations_total")
    batches = counted(address, "jaxseg_batches_total")
    print(
        f"\n{REQUESTS / seconds:.0f} requests a second, {compiled:.0f} compilations, {batches:.0f} "
        f"batches, memory {[round(m / 2**20) for m in memory]} MB"
    )
    assert statuses == {200: REQUESTS - REQUESTS // GARBAGE, 415: REQUESTS // GARBAGE}
    # canvases of 64x64, 64x128, 128x128 and 64x256, for one image and for four
    assert compiled <= 2 * 4 + 2
    assert batches < REQUESTS
    assert memory[-1] < memory[0] + 2**27
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(60) == 0
    assert serving.stderr.read() == ""


@pytest.mark.slow
def test_a_signal_ends_it_after_the_waiting_requests(network, process):
    """Requests that arrived before SIGINT are answered; later ones find no server."""
    serving, address = started(process, network[0])
    file = io.BytesIO()
    Image.fromarray(np.zeros((200, 150, 3), np.uint8)).save(file, "PNG")  # needs a compilation
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(post, address, file.getvalue()) for _ in range(4)]
        deadline = time.monotonic() + 60
        while b'"requests":4' not in urllib.request.urlopen(f"{address}/health").read():
            assert time.monotonic() < deadline and not all(one.done() for one in asked)
        os.kill(serving.pid, signal.SIGINT)
        assert [one.result()[0] for one in asked] == [200] * 4
    out, err = serving.communicate(timeout=60)
    assert (serving.returncode, err, out.splitlines()[-1]) == (0, "", "stopped")
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{address}/health", timeout=5)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--port", "{taken}"], "Port {taken} of 127.0.0.1 is not available"),
        (["--port", "70000"], "--port is 70000"),
        (["--host", "192.0.2.1"], "--host is '192.0.2.1', which is no address of this machine"),
        (["--host", "no such host"], "--host is"),
        (["--batch", "0"], "--batch is 0"),
        (["no_such_network", "--port", "0"], "no_such_network"),
    ],
)
def test_bad_options_take_two_lines(words, problem, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", *(word.format(taken=port) for word in words)]) == 2
    error, fix, *more = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and problem.format(taken=port) in error
    assert fix.startswith("fix: ") and not more


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    monkeypatch.delitem(__import__("sys").modules, "jaxseg.serve.server", raising=False)
    assert run(["serve"]) == 2
    error, fix = capsys.readouterr().err.splitlines()
    assert "uvicorn" in error and "jaxseg[serve]" in fix
