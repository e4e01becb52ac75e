"""Drives Chromium by its DevTools protocol over a pipe: a user's actions and view of a page."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]


class Tab:
    """One page; `problems` holds the console's errors and uncaught exceptions."""

    def __init__(self, read, write):
        self._read, self._write, self._last = read, write, 0
        self._buffer, self._session, self.problems = b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def _message(self):
        while b"\0" not in self._buffer:
            data = os.read(self._read, 2**20)
            assert data, "the browser has ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(message["params"]["exceptionDetails"])
        if message.get("method") == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["source"] != "rendering":  # performance advice, caused by the test's reads
                self.problems.append(entry)
        if message.get("method") == "Runtime.consoleAPICalled":
            self.problems.append(message["params"])
        return message

    def run(self, script):
        """Returns the value of a script, which may use await."""
        wrapped = f"(async () => {{ {script} }})()"
        told = self.call(
            "Runtime.evaluate", expression=wrapped, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < deadline, (condition, self.problems)
            time.sleep(0.05)

    def open(self, address, width, height=900, dark=False):
        """Opens an address at this width; narrow pages get a phone's settings."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.protocol === 'http:'")

    def picture(self, path):
        """Writes the whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browser():
    """A `Tab` of a new browser; skips where there is none."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: looked for {', '.join(BROWSERS)}")
    to_read, to_write = os.pipe(), os.pipe()  # the browser's file descriptors 3 and 4
    script = f'exec "$@" 3<&{to_read[0]} 4>&{to_write[1]}'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [program, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *words],
            pass_fds=(to_read[0], to_write[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read[0])
        os.close(to_write[1])
        try:
            yield Tab(to_write[0], to_read[1])
        finally:
            os.close(to_read[1])
            os.close(to_write[0])
            process.terminate()
            process.wait(20)
