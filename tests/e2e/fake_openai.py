"""What every fake OpenAI of the suites does alike: it listens on loopback, reads bodies, and refuses keys in OpenAI's words."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import refusals


class Server:
    """Answers by a handler's class, in threads of this process from its making until `stop`."""

    def __init__(self, handler):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection. What it says to a request is a fake's own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """The fakes' journals tell more than http.server's lines on stderr."""

    def key(self):
        """The key that came: None without one."""
        return refusals.bearer(self.headers.get("Authorization"))

    def refuse(self):
        body = refusals.body(self.path, self.key())
        self.whole(401, body, headers={"WWW-Authenticate": refusals.REALM})

    def whole(self, status, body, kind="application/json", headers=None):
        """A whole answer."""
        self.head(status, kind, {"Content-Length": len(body), **(headers or {})})
        self.wfile.write(body)

    def head(self, status, kind, headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "x-request-id": "req_fake", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()

    def pieces(self):
        """The body as it comes, of any size."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            left = int(self.headers.get("Content-Length", 0))
            while left and (piece := self.rfile.read(min(left, 1 << 16))):
                left -= len(piece)
                yield piece
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
