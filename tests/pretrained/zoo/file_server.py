"""A local web server that serves a folder, and can be told to misbehave."""

import contextlib
import functools
import http.server
import pathlib
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `folder`. `faults` lists what to do wrong with the next requests, one entry each."""

    def __init__(self, *args, folder, faults, seen):
        self.folder, self.faults, self.seen = folder, faults, seen
        super().__init__(*args)

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Range")))
        fault = self.faults.pop(0) if self.faults else None
        if fault == "redirect":
            self.send_response(302)
            self.send_header("Location", f"/moved{self.path}")
            self.end_headers()
            return
        path = pathlib.Path(self.folder, self.path.partition("?")[0].rpartition("/")[2])
        if isinstance(fault, int) or not path.is_file():
            self.send_error(fault or 404)
            return
        data, start = path.read_bytes(), 0
        if (wanted := self.headers.get("Range")) and fault != "no ranges":
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                self.send_error(416)
                return
        if fault == "break without a length":
            self.protocol_version = "HTTP/1.1"
        self.send_response(206 if start else 200)
        if fault == "break without a length":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            part = data[start : start + len(data) // 3]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
            self.connection.close()
            return
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if fault == "break":
            self.wfile.write(data[start : start + len(data) // 3])
            self.wfile.flush()
            self.connection.close()
            return
        if fault == "slow":
            for i in range(start, len(data), 1 + len(data) // 4):
                self.wfile.write(data[i : i + 1 + len(data) // 4])
                self.wfile.flush()
                time.sleep(0.05)
            return
        self.wfile.write(data[start:])


@contextlib.contextmanager
def serving(folder, faults=()):
    """Yields its address, the remaining faults, and the requests: (path, range) of each."""
    faults, seen = list(faults), []
    handler = functools.partial(Handler, folder=folder, faults=faults, seen=seen)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # ignores connections that a test breaks off
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", faults, seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
