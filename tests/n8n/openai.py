"""A fake OpenAI on the loopback interface: what n8n's nodes need of it, and a journal of what came.

It accepts a set of keys, which a test may change, and refuses all others in OpenAI's own words.  Paths
are OpenAI's own too: one that still has a prefix of the proxy is not found here, as it would not be there.
"""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import answers
import refusals


@dataclass(frozen=True)
class Received:
    """One request as it reached OpenAI."""

    method: str
    path: str
    headers: list
    body: bytes

    def values(self, name):
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]


class OpenAI:
    """The server.  It runs in threads of this process from its making until `stop`."""

    def __init__(self, keys):
        self.keys = set(keys)
        self.journal = []
        # A test may have something else happen: a function of what came, which gives status, JSON value and
        # headers of another answer, or None.
        self.interfere = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def _handler_for(openai):
    """The class that http.server makes an instance of for each connection, bound to one fake."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            self._answer()

        def do_POST(self):
            self._answer()

        def log_message(self, *_):
            """The journal tells more than http.server's lines on stderr."""

        def _answer(self):
            body = self._body()
            received = Received(self.command, self.path, list(self.headers.items()), body)
            openai.journal.append(received)
            if instead := openai.interfere and openai.interfere(received):
                return self._json(*instead)
            key = refusals.bearer(self.headers.get("Authorization"))
            if key in openai.keys:
                self._route(body)
            else:
                self._refuse(refusals.body(self.path, key))

        def _route(self, body):
            request = json.loads(body) if body.startswith(b"{") else {}
            match answers.of(self.command, self.path.partition("?")[0], request):
                case None:
                    self._json(404, answers.error(f"Invalid URL ({self.command} {self.path})", None))
                case list() as events:
                    self._stream(events)
                case bytes() as audio:
                    self._whole(200, "audio/mpeg", audio)
                case value:
                    self._json(200, value)

        def _refuse(self, body):
            self._whole(401, "application/json", body, {"WWW-Authenticate": refusals.REALM})

        def _json(self, status, value, headers=None):
            self._whole(status, "application/json", json.dumps(value, indent=2).encode(), headers)

        def _whole(self, status, kind, body, headers=None):
            self._head(status, kind, {"Content-Length": len(body), **(headers or {})})
            self.wfile.write(body)

        def _stream(self, events):
            self._head(200, "text/event-stream; charset=utf-8", {"Transfer-Encoding": "chunked"})
            for event in events:
                data = event.encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                # Each event shall arrive on its own, as a model's words do.
                time.sleep(0.005)
            self.wfile.write(b"0\r\n\r\n")

        def _head(self, status, kind, headers):
            self.send_response(status)
            for name, value in {"Content-Type": kind, "x-request-id": "req_fake", **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()

        def _body(self):
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body

    return Handler


