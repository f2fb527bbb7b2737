"""A server that speaks as much of Hugging Face's protocol as one model needs."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading

COMMIT = "a" * 40


class Hub(http.server.ThreadingHTTPServer):
    """Keeps the repository o/n; refuses all others.

    Attributes:
        files: name -> contents.
        requests: method and path of each request.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.requests = {}, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body, path, hub = self.rfile.read(length), self.path, self.server
        hub.requests.append(f"{self.command} {path}")
        if "/resolve/" in path:
            contents = hub.files.get(path.rpartition("/")[2])
            if contents is None:
                return self.send({"error": "no such file"}, 404)
            tag = hashlib.sha1(contents).hexdigest()
            return self.send(contents, 200, {"X-Repo-Commit": COMMIT, "ETag": tag})
        if path == "/api/validate-yaml":
            return self.send({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)  # Versions of the package spell it differently.
            assert asked.get("private") or asked.get("visibility") == "private"
            if asked["name"] != "n":
                return self.send({"error": "refused"}, 401)
            return self.send({"url": f"{hub.address}/o/n", "name": "o/n"})
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return self.send({"files": [{"path": name, **modes} for name in names]})
        if "/commit/" in path:
            for entry in map(json.loads, body.splitlines()):
                if entry["key"] == "file":
                    value = entry["value"]
                    hub.files[value["path"]] = base64.b64decode(value["content"])
            address = f"{hub.address}/o/n/commit/{COMMIT}"
            return self.send({"commitUrl": address, "commitOid": COMMIT})
        if "/tree/" in path:
            return self.send([described(*file) for file in hub.files.items()])
        if path.startswith("/api/models/o/n"):
            names = [{"rfilename": name} for name in hub.files]
            return self.send({"id": "o/n", "sha": COMMIT, "siblings": names})
        return self.send({"error": "not found"}, 404)

    do_GET = do_HEAD = do_POST = answer

    def send(self, content, status=200, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        pass


def described(name, contents):
    oid = hashlib.sha1(contents).hexdigest()
    return {"type": "file", "path": name, "size": len(contents), "oid": oid}


@contextlib.contextmanager
def serving():
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()
