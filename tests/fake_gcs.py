"""An object store on this machine that speaks enough of Cloud Storage's JSON API.

gcsfs, TensorStore and ArrayRecord talk to it as they would to gs://. It keeps objects
in memory, gives every write a new generation, and heeds preconditions on generations,
without which TensorStore takes no answer.
"""

import http.server
import itertools
import json
import pathlib
import re
import sys
import threading
import urllib.parse

OBJECT = r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)"


class Server(http.server.ThreadingHTTPServer):
    """Holds `objects`: (bucket, name) -> (generation, content), and `buckets` by name.

    Attributes:
        refusal: from a request's method to the status that refuses it, or None.
        url: where it listens.
        environment: the variables that send gcsfs, TensorStore and ArrayRecord here.
            The last waits with the interpreter locked: it needs a process of its own.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets, self.objects, self.uploads = set(), {}, {}
        self.refusal = lambda method: None
        self.generations, self.lock = itertools.count(1), threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "anyone",
            "FSSPEC_GCS_TOKEN": "anon",
            # Another protocol, for buckets of other kinds.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def upload(self, folder, to: str) -> None:
        """Copies a folder's files to gs://BUCKET/NAME/..."""
        bucket, _, prefix = to.removeprefix("gs://").partition("/")
        for file in filter(pathlib.Path.is_file, pathlib.Path(folder).rglob("*")):
            key = bucket, f"{prefix}/{file.relative_to(folder).as_posix()}"
            self.objects[key] = next(self.generations), file.read_bytes()

    def handle_error(self, request, client_address):
        """Clients that leave before an answer are nothing to tell of."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Requests are not printed."""

    def do_GET(self):  # noqa: N802
        if found := self._match(OBJECT):
            return self._read(found)
        if found := self._match(r"/storage/v1/b/([^/]+)/o"):
            return self._list(*found)
        if found := self._match(r"/storage/v1/b/([^/]+)"):
            return self._json({"kind": "storage#bucket", "name": found[0]})
        return self._json({}, 404)

    def do_POST(self):  # noqa: N802
        if "upload_id" in self.query:
            return self._continue_upload(self.body)
        if found := self._match(r"/upload/storage/v1/b/([^/]+)/o"):
            return self._upload(found[0], self.body)
        if found := self._match(OBJECT + r"/moveTo/o/([^/]+)"):
            bucket, source, target = found
            return self._copy((bucket, source), (bucket, target), move=True)
        if found := self._match(OBJECT + r"/rewriteTo/b/([^/]+)/o/([^/]+)"):
            return self._copy(found[:2], found[2:], move=False)
        return self._json({}, 404)

    do_PUT = do_POST  # noqa: N815

    def do_DELETE(self):  # noqa: N802
        key = self._match(OBJECT)
        with self.server.lock:
            if not self._allowed(key):
                return self._json({}, 412)
            gone = self.server.objects.pop(key, None)
        return self._json({}, 404) if gone is None else self._answer(b"", 204)

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))

    def _match(self, pattern: str) -> tuple[str, ...] | None:
        found = re.fullmatch(pattern, urllib.parse.urlsplit(self.path).path)
        return found and tuple(map(urllib.parse.unquote, found.groups()))

    def _allowed(self, key) -> bool:
        wanted = self.query.get("ifGenerationMatch")
        return wanted is None or int(wanted) == self.server.objects.get(key, (0,))[0]

    def _resource(self, key) -> dict:
        generation, content = self.server.objects[key]
        names = {"kind": "storage#object", "bucket": key[0], "name": key[1]}
        return {**names, "generation": str(generation), "size": str(len(content))}

    def _read(self, key):
        with self.server.lock:
            if key not in self.server.objects:
                return self._json({}, 404)
            resource = self._resource(key)
            generation, content = self.server.objects[key]
        if self.query.get("alt") != "media":
            return self._json(resource)
        tag = {"x-goog-generation": str(generation)}
        if self.query.get("ifGenerationNotMatch") == str(generation):
            return self._answer(b"", 304, tag)
        if not self._allowed(key):
            return self._json({}, 412)
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not span:
            return self._answer(content, 200, tag)
        size = len(content)
        first = int(span[1]) if span[1] else size - int(span[2])
        if first >= size:
            return self._json({}, 416)
        part = content[first : int(span[2]) + 1 if span[1] and span[2] else None]
        tag["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{size}"
        return self._answer(part, 206, tag)

    def _list(self, bucket):
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter")
        start, end = self.query.get("startOffset", ""), self.query.get("endOffset")
        items, prefixes = [], set()
        with self.server.lock:
            for key in sorted(self.server.objects):
                name = key[1]
                if key[0] != bucket or not name.startswith(prefix):
                    continue
                if name < start or (end and name >= end):
                    continue
                head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
                if found:
                    prefixes.add(prefix + head + delimiter)
                else:
                    items.append(self._resource(key))
        self._json({"items": items, "prefixes": sorted(prefixes)})

    def _upload(self, bucket, body):
        kind, name = self.query["uploadType"], self.query.get("name")
        if kind == "resumable":
            token = str(next(self.server.generations))
            self.server.uploads[token] = ((bucket, name), bytearray())
            place = f"{self.server.url}{self.path}&upload_id={token}"
            return self._answer(b"", 200, {"Location": place})
        if kind == "multipart":
            about, body = _parts(body, self.headers["Content-Type"])
            name = json.loads(about)["name"]
        self._write((bucket, name), body)

    def _continue_upload(self, body):
        key, received = self.server.uploads[self.query["upload_id"]]
        first, total = re.fullmatch(
            r"bytes (\d+|\*)(?:-\d+)?/(\d+|\*)", self.headers["Content-Range"]
        ).groups()
        if first != "*":
            received[int(first) :] = body
        if total != "*" and len(received) == int(total):
            return self._write(key, bytes(received))
        self._answer(b"", 308, {"Range": f"bytes=0-{len(received) - 1}"})

    def _write(self, key, content):
        with self.server.lock:
            if not self._allowed(key):
                return self._json({}, 412)
            generation = next(self.server.generations)
            self.server.objects[key] = (generation, content)
            resource = self._resource(key)
        self._json(resource)

    def _copy(self, source, target, *, move):
        objects = self.server.objects
        with self.server.lock:
            if source not in objects:
                return self._json({}, 404)
            content = (objects.pop if move else objects.get)(source)[1]
            objects[target] = (next(self.server.generations), content)
            resource = self._resource(target)
        self._json(resource if move else {"done": True, "resource": resource})

    def parse_request(self) -> bool:
        """Takes a request; refuses those to buckets that are not there, and others."""
        if not super().parse_request():
            return False
        # Whatever is refused, or its body would be taken for the next request.
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if refused := self.server.refusal(self.command):
            about = {"code": refused, "message": "The request was refused."}
            self._json({"error": about}, refused)
            return False
        bucket = re.search(r"/b/([^/?]+)", self.path)
        if bucket and bucket[1] in self.server.buckets:
            return True
        self._json({"error": {"message": "The specified bucket does not exist."}}, 404)
        return False

    def _json(self, value, status=200):
        headers = {"Content-Type": "application/json"}
        self._answer(json.dumps(value).encode(), status, headers)

    def _answer(self, content, status, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _parts(body: bytes, content_type: str) -> list[bytes]:
    """Returns the contents of the parts of a multipart message."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)[1].encode()
    parts = body.split(b"--" + boundary)[1:-1]
    return [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1][:-1] for part in parts]
