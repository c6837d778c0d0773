"""A receiver of notices on the loopback interface: it verifies each with the reference library of Standard Webhooks, answers
as a test wants it, and remembers everything."""

import json
import ssl
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import processes
import standardwebhooks

TAKEN = (204, {})


@dataclass(frozen=True)
class Received:
    """One attempt."""

    at: float
    path: str
    headers: dict
    body: bytes
    # What the reference library says against it: nothing where it is genuine.
    fault: str

    @property
    def id(self):
        return self.headers.get("webhook-id")

    @property
    def value(self):
        return json.loads(self.body)

    @property
    def kind(self):
        return self.value["type"]

    @property
    def data(self):
        return self.value["data"]


class Receiver:
    """Listens from its making until `stop`, and again from `start` on, at the same port.

    `answer` gives the status and the headers for an attempt, by its number from 0 on; while it waits, so does the sender.
    """

    def __init__(self, secret, answer=lambda number: TAKEN, tls=None):
        self._secret, self._tls, self.answer = secret, tls, answer
        self._lock, self.journal, self.gets, self.port = threading.Lock(), [], [], 0
        self.start()

    def start(self):
        self._server = Server(("127.0.0.1", self.port), handler_for(self))
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def note(self, path, headers, body):
        """Remembers an attempt, and gives its number."""
        with self._lock:
            self.journal.append(Received(time.monotonic(), path, headers, body, self._fault(headers, body)))
            return len(self.journal) - 1

    def _fault(self, headers, body):
        try:
            standardwebhooks.Webhook(self._secret).verify(body, headers)
            return ""
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def of(self, *kinds):
        """The attempts of those types, up to now."""
        return [received for received in list(self.journal) if received.kind in kinds]

    def until(self, what, condition, timeout=60):
        """The attempts, as soon as that is so of them."""
        return processes.until(lambda: condition(list(self.journal)) and list(self.journal), timeout=timeout, what=what, pause=0.01)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_):
        """A keyward that is killed, or that does not trust the certificate, breaks connections off."""


def handler_for(receiver):
    """The class that http.server makes an instance of for each connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            """The journal tells more."""

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._say(*receiver.answer(receiver.note(self.path, headers, body)))

        def do_GET(self):
            receiver.gets.append((time.monotonic(), self.path))
            self._say(200, {})

        def _say(self, status, headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
