"""A local server with the part of the Hugging Face Hub's HTTP API that its client calls for us."""

import contextlib
import functools
import hashlib
import http.server
import json
import threading
from base64 import b64decode
from urllib.parse import unquote, urlsplit


class Hub:
    """The repositories, and what to do wrong.

    Attributes:
      commits: the files of each commit of a repository, by name: {repository: [{name: bytes}]}.
      private: repositories that need `token`.
      token: the one accepted token; an upload needs it.
      broken: begins of paths that are answered with 500.
      cut: number of uploads whose connection is closed halfway.
    """

    def __init__(self):
        self.commits, self.private, self.broken = {}, set(), ()
        self.stored, self.token, self.cut, self.seen = {}, "hf_secret", 0, []

    def files(self, repository):
        return self.commits[repository][-1]

    def publish(self, repository, files):
        self.commits.setdefault(repository, []).append(dict(files))

    def sha(self, repository, number=-1):
        """The name of a commit: 40 digits."""
        files = self.commits[repository][number]
        return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers like the Hub, for models alone. Large files, the safetensors, go by LFS."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args, hub):
        self.hub = hub
        super().__init__(*args)

    def log_message(self, format, *args):
        pass

    @property
    def endpoint(self):
        return f"http://{self.headers['Host']}"

    def _answer(self, status, body=b"", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, status, code, message):
        body = {"error": message}
        self._answer(status, body, {"X-Error-Code": code, "X-Error-Message": message})

    def _handle(self):
        length = int(self.headers.get("Content-Length") or 0)
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append((self.command, path))
        if self.command == "PUT" and self.hub.cut:
            self.hub.cut -= 1
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.shutdown(2)
            return None
        body = self.rfile.read(length)
        if path.startswith(tuple(self.hub.broken)):
            return self._refuse(500, "", "Internal Error")
        return self._route(path, body)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _route(self, path, body):
        hub, parts = self.hub, path.strip("/").split("/")
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if self.command == "PUT":  # of a large file
            oid = parts[-1]
            if hashlib.sha256(body).hexdigest() != oid:
                return self._refuse(400, "", "The content has another hash.")
            hub.stored[oid] = body
            return self._answer(200)
        known = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            if not known:
                return self._refuse(401, "", "Invalid username or password.")
            there = repository in hub.commits
            hub.commits.setdefault(repository, [{}])
            return self._answer(409 if there else 200, {"url": f"{self.endpoint}/{repository}"})
        if parts[:2] == ["api", "models"]:
            repository, rest = "/".join(parts[2:4]), parts[4:]
        else:
            repository, rest = "/".join(parts[:2]).removesuffix(".git"), parts[2:]
        if repository not in hub.commits or (repository in hub.private and not known):
            # the Hub says 401 for both, if the client has no token
            if not known:
                return self._refuse(401, "", "Invalid username or password.")
            return self._refuse(404, "RepoNotFound", "Repository not found")
        return self._about(repository, rest, body, known)

    def _about(self, repository, rest, body, known):
        hub = self.hub
        if rest[:1] in ([], ["revision"]):
            if rest[1:] and rest[1] not in ("main", "v1", hub.sha(repository)):
                return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
            names = [{"rfilename": name} for name in hub.files(repository)]
            about = {"id": repository, "modelId": repository, "sha": hub.sha(repository)}
            return self._answer(200, {**about, "private": False, "tags": [], "siblings": names})
        if rest[0] == "tree":
            return self._answer(200, [self._entry(*file) for file in hub.files(repository).items()])
        if rest[0] == "resolve":
            return self._file(repository, hub.files(repository)[rest[2]], rest[2])
        if not known:
            return self._refuse(401, "", "Invalid username or password.")
        if rest[0] == "preupload":
            return self._answer(200, {"files": [self._mode(f) for f in json.loads(body)["files"]]})
        if rest[:3] == ["info", "lfs", "objects"]:
            return self._answer(
                200, {"objects": [self._place(o) for o in json.loads(body)["objects"]]}
            )
        if rest[0] == "commit":
            return self._commit(repository, [json.loads(line) for line in body.splitlines()])
        raise AssertionError(rest)

    @staticmethod
    def _mode(file):
        mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _place(self, wanted):
        found = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] in self.hub.stored:
            return found
        return found | {"actions": {"upload": {"href": f"{self.endpoint}/lfs/{wanted['oid']}"}}}

    def _commit(self, repository, lines):
        files = dict(self.hub.files(repository))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        self.hub.publish(repository, files)
        oid = self.hub.sha(repository)
        url = f"{self.endpoint}/{repository}/commit/{oid}"
        return self._answer(200, {"commitUrl": url, "commitOid": oid, "success": True})

    @staticmethod
    def _entry(name, data):
        entry = {"type": "file", "path": name, "size": len(data), "oid": _git_oid(data)}
        if name.endswith(".safetensors"):
            oid = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
        return entry

    def _file(self, repository, data, name):
        large = name.endswith(".safetensors")
        etag = hashlib.sha256(data).hexdigest() if large else _git_oid(data)
        headers = {"X-Repo-Commit": self.hub.sha(repository), "ETag": f'"{etag}"'}
        return self._answer(200, data, headers)


def _git_oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextlib.contextmanager
def hub_server():
    """Yields the Hub, and the address for HF_ENDPOINT."""
    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, hub=hub))
    server.handle_error = lambda *_: None
    server.daemon_threads = True  # connections that are kept alive
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
