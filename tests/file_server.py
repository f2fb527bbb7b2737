"""A server of files on this machine that can break off, lie and refuse."""

import contextlib
import http.server
import threading


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` from memory and records the ranges that were requested.

    Attributes:
        files: path -> contents.
        asked: the Range header of each request, or None.
        ranges: whether ranges are served.
        stop_after: byte at which a response breaks off; None: it does not.
        answers: path -> status to answer instead.
        extra_length: added to the length that is stated.
    """

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked = files, []
        self.ranges, self.stop_after = True, None
        self.answers, self.extra_length = {}, 0

    def address(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path[1:]
        contents = server.files.get(name)
        asked = self.headers["Range"] if server.ranges else None
        server.asked.append(self.headers["Range"])
        if name in server.answers or contents is None:
            return self.send_error(server.answers.get(name, 404))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start and start >= len(contents):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        length = len(contents) - start + server.extra_length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        stop = server.stop_after
        # A connection that breaks off again and again gets further each time.
        self.wfile.write(contents[start : None if stop is None else start + stop])

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(files):
    with Server(files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
