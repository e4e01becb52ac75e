"""Clients that leave, or do not read their response, hold nothing for long; nor does a stop."""

import io
import os
import signal
import socket
import threading
import time
import urllib.request

import anyio
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="pip install '.[serve]'")
pytest.importorskip("prometheus_client", reason="pip install '.[serve]'")
pytest.importorskip("uvicorn", reason="pip install '.[serve]'")

from stub import served

from jaxseg.serve.app import make_app
from jaxseg.serve.server import address_of, bound_socket, serve
from jaxseg.serve.upload import Limits


def upload(height=9, width=9):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


class Client:
    """A connection to the application, without a network between them."""

    def __init__(self, app, data, query=b"format=npz"):
        self.app, self.sent, self.reads, self.left = app, [], anyio.Event(), anyio.Event()
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": "/predict", "raw_path": b"/predict", "query_string": query, "headers": [],
        }  # fmt: skip
        self._events = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive(self):
        if self._events:
            return self._events.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        await self.reads.wait()
        self.sent.append(message)

    async def __call__(self):
        await self.app(self.scope, self.receive, self.send)

    @property
    def status(self):
        return self.sent[0]["status"]


@pytest.fixture
def app():
    networks = served("one")
    limits = Limits(requests=3, seconds=2.5)
    made = make_app(networks, limits=limits, most_batch=1)
    yield made, networks["one"].label
    networks["one"].label.gate.set()
    made.state.networks.batcher.close()


async def until(condition):
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.005)


def test_a_client_that_leaves_makes_room_in_the_queue(app):
    app, stub = app
    batcher = app.state.networks.batcher
    stub.gate.clear()

    async def story():
        async with anyio.create_task_group() as group:
            gone = [Client(app, upload()) for _ in range(3)]
            for one in gone:
                one.reads.set()
                group.start_soon(one)
            # one image is being labelled, two wait
            await until(lambda: stub.begun.is_set() and len(batcher) == 2)
            refused = Client(app, upload())
            refused.reads.set()
            await refused()
            assert refused.status == 503
            for one in gone:
                one.left.set()
            await until(lambda: all(one.sent for one in gone))
            stayed = [Client(app, upload(10, 10)) for _ in range(3)]
            for one in stayed:
                one.reads.set()
                group.start_soon(one)
            await until(lambda: len(batcher) == 3)
            stub.gate.set()
        assert [one.status for one in gone] == [499] * 3
        assert [one.status for one in stayed] == [200] * 3

    anyio.run(story)
    # the one image that was being labelled, and those of the clients that stayed
    assert stub.seen == [[(9, 9)], [(10, 10)], [(10, 10)], [(10, 10)]]


def test_a_response_counts_until_it_is_received(app):
    app, stub = app
    data = upload(200, 300)

    async def story():
        async with anyio.create_task_group() as group:
            idle = [Client(app, data) for _ in range(3)]  # they never read
            for one in idle:
                group.start_soon(one)
            await until(lambda: len(stub.seen) == 3)
            late = Client(app, data)
            late.reads.set()
            await late()
            assert late.status == 503
        assert not any(one.sent for one in idle)  # their time has passed
        late = Client(app, data)
        late.reads.set()
        await late()
        body = b"".join(message.get("body", b"") for message in late.sent)
        assert late.status == 200 and len(late.sent) > 2 and not late.sent[-1]["more_body"]
        assert all(m["more_body"] for m in late.sent[1:-1])
        assert all(len(m.get("body", b"")) <= 2**16 for m in late.sent)
        with np.load(io.BytesIO(body)) as arrays:
            assert arrays["labels"].shape == (200, 300)

    anyio.run(story)


def closed(connection, within=5):
    """Whether the server closes a connection, whatever it sends before."""
    connection.settimeout(within)
    try:
        while connection.recv(2**16):
            pass
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_clients_that_send_no_request_are_closed_and_delay_nobody(app):
    app, _ = app
    seconds, answers, left_open = 0.4, [], []
    begun = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"

    def connected(first=b""):
        connection = socket.create_connection(place)
        connection.sendall(first)
        return connection

    def drip(connection):
        """Sends one byte of an endless head, or body, at a time."""
        try:
            for _ in range(200):
                connection.sendall(b"x")
                time.sleep(0.02)
        except OSError:
            pass

    def story():
        try:
            # after a whole request: the start of another, and a body that nobody reads
            kept = connected(begun + b"\r\n")
            unread = connected(begun.replace(b"GET", b"HEAD") + b"Content-Length: 99\r\n\r\n")
            slow = [connected(begun), kept, unread]
            idle = [connected() for _ in range(100)]
            threads = [threading.Thread(target=drip, args=[one]) for one in slow]
            for thread in threads:
                thread.start()
            for _ in range(5):
                request = urllib.request.Request(f"{address}/predict", upload(), method="POST")
                answers.append(urllib.request.urlopen(request, timeout=20).status)
            left_open.extend(one for one in (*slow, *idle) if not closed(one))
            for thread in threads:
                thread.join()
            for one in (*slow, *idle):
                one.close()
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with bound_socket("127.0.0.1", 0) as listening:
        place, address = listening.getsockname(), address_of(listening, "127.0.0.1")
        teller = threading.Thread(target=story)
        serve(app, listening, teller.start, seconds=seconds)
    teller.join()
    assert answers == [200] * 5 and not left_open


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_of_too_many_idle_connections_the_oldest_is_closed_and_a_request_is_none(app):
    app, stub = app
    stub.gate.clear()
    data, seen = upload(), {}

    def story():
        try:
            asks = socket.create_connection(place)
            head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}"
            asks.sendall(head.encode() + b"\r\n\r\n" + data)
            assert stub.begun.wait(20)
            idle = [socket.create_connection(place) for _ in range(4)]
            seen["oldest"] = closed(idle[0])
            seen["others"] = [closed(one, 0.02) for one in idle[1:]]
            stub.gate.set()
            asks.settimeout(20)
            seen["answer"] = asks.recv(12)
            for one in (asks, *idle):
                one.close()
        finally:
            stub.gate.set()
            os.kill(os.getpid(), signal.SIGINT)

    with bound_socket("127.0.0.1", 0) as listening:
        place = listening.getsockname()
        teller = threading.Thread(target=story)
        serve(app, listening, teller.start, most_idle=3)
    teller.join()
    assert seen == {"oldest": True, "others": [False] * 3, "answer": b"HTTP/1.1 200"}


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_a_second_signal_ends_the_waiting_requests_without_a_traceback(app, capfd, caplog):
    app, stub = app
    answers = []

    def ask():
        request = urllib.request.Request(f"{address}/predict", upload(), method="POST")
        try:
            answers.append(urllib.request.urlopen(request, timeout=20).status)
        except OSError as error:
            answers.append(error)

    def interrupt():
        deadline = time.monotonic() + 20
        while b'"requests":1' not in urllib.request.urlopen(f"{address}/health").read():
            assert time.monotonic() < deadline
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        assert not answers and threads[0].is_alive()  # the first signal lets it wait
        os.kill(os.getpid(), signal.SIGINT)

    stub.gate.clear()
    threads = [threading.Thread(target=ask), threading.Thread(target=interrupt)]
    with bound_socket("127.0.0.1", 0) as listening:
        address = address_of(listening, "127.0.0.1")
        serve(app, listening, lambda: [thread.start() for thread in threads])
    for thread in threads:
        thread.join()
    assert len(answers) == 1 and isinstance(answers[0], OSError)
    assert "Traceback" not in capfd.readouterr().err and not caplog.records
