"""A tap on the wire in front of the mock: it passes bytes on as they come, and keeps them.

The mock's own journal shows no credential, no body as it came, and neither requests that it refuses nor lists of
models.  The tap shows all of it, and who ended a connection before its answer was whole.  It reads HTTP/1.1 only
afterwards, when it is asked.
"""

import itertools
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field

CHUNK = 1 << 16


@dataclass
class Received:
    """One request as it came over the wire, and what became of its answer."""

    began: float
    method: str
    target: str
    headers: list
    body: bytes
    # Whether all of the body came: who is refused early need not send it.
    whole: bool
    # None until the head of the answer has passed by.
    status: int | None = None
    # Whether the answer passed by to its end.
    answered: bool = False
    # Whether the connection ended before that, and whether the sender of the request ended it.
    ended: bool = False
    cancelled: bool = False

    def values(self, name):
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]


class Tap:
    """Listens on a port of its own, and for TLS on a second one."""

    def __init__(self, upstream, certificate=None):
        self._upstream, self._connections = upstream, []
        self._listeners = [socket.create_server(("127.0.0.1", 0))]
        contexts = [None]
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._listeners.append(socket.create_server(("127.0.0.1", 0)))
            contexts.append(context)
        # The second one, if there is one, is that for TLS.
        self.addresses = ["{}:{}".format(*listener.getsockname()) for listener in self._listeners]
        for listener, context in zip(self._listeners, contexts):
            threading.Thread(target=self._accept, args=(listener, context), daemon=True).start()

    @property
    def url(self):
        return f"http://{self.addresses[0]}"

    def forget(self):
        """Begins anew.  What a connection that is still open carried so far is forgotten with the others."""
        for connection in self._connections:
            connection.begin_anew()

    def received(self):
        """What came since it last forgot, in the order in which it came."""
        all_of_them = [request for connection in self._connections for request in connection.requests()]
        return sorted(all_of_them, key=lambda request: request.began)

    def stop(self):
        for listener in self._listeners:
            # An accept in another thread goes on after a close alone.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in self._connections:
            connection.end()

    def _accept(self, listener, context):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client, context), daemon=True).start()

    def _carry(self, client, context):
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = context.wrap_socket(client, server_side=True) if context else client
            server = socket.create_connection(self._upstream)
        except OSError:
            client.close()
            return
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(client, server)
        self._connections.append(connection)
        # Not sooner: a client may have its answer before the line above is through.
        connection.start()


@dataclass
class _Side:
    """What came from one side, and when each piece of it did."""

    bytes: bytearray = field(default_factory=bytearray)
    arrivals: list = field(default_factory=list)
    ended: float | None = None

    def add(self, data):
        self.arrivals.append((len(self.bytes), time.monotonic()))
        self.bytes += data

    def arrival(self, offset):
        return max(moment for start, moment in self.arrivals if start <= offset)


class _Connection:
    """Two sockets, two threads that carry between them, and what they carried."""

    def __init__(self, client, server):
        self._sockets = client, server
        self._lock = threading.Lock()
        self._requests, self._answers = _Side(), _Side()

    def start(self):
        client, server = self._sockets
        for ends in ((client, server, "_requests"), (server, client, "_answers")):
            threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def begin_anew(self):
        with self._lock:
            ends = self._requests.ended, self._answers.ended
            self._requests, self._answers = _Side(ended=ends[0]), _Side(ended=ends[1])

    def requests(self):
        with self._lock:
            requests, answers = bytes(self._requests.bytes), bytes(self._answers.bytes)
            ends = self._requests.ended, self._answers.ended
            arrival = self._requests.arrival
            return list(_read(requests, answers, ends, arrival))

    def end(self):
        for end in self._sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _pump(self, source, target, name):
        try:
            while data := source.recv(CHUNK):
                with self._lock:
                    getattr(self, name).add(data)
                target.sendall(data)
        except OSError:
            pass
        with self._lock:
            getattr(self, name).ended = time.monotonic()
        # A client that leaves is gone for good: to the mock, too, which shall not take it for half a close.
        if name == "_requests" and not isinstance(target, ssl.SSLSocket):
            target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for end in (target, source):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if name == "_requests":
            target.close()


def _read(requests, answers, ends, arrival):
    """Every request of one connection."""
    at, answered_to = 0, 0
    while (end := requests.find(b"\r\n\r\n", at)) >= 0:
        began = arrival(at)
        line, headers = _head(requests[at:end])
        method, target, _ = line.split(" ", 2)
        at, body, whole = _body(requests, end + 4, headers, until_end=False)
        received = Received(began, method, target, headers, body, whole)
        answered_to = _read_answer(received, answers, answered_to, ends)
        yield received
        if received.status == 101:
            return


def _read_answer(received, answers, at, ends):
    """Fills in what became of the answer, and returns where the next one begins."""
    end = answers.find(b"\r\n\r\n", at)
    while end >= 0:
        line, headers = _head(answers[at:end])
        received.status, at = int(line.split(" ")[1]), end + 4
        if received.status >= 200 or received.status == 101:
            without_body = received.method == "HEAD" or received.status in (204, 304, 101)
            is_whole = True
            if not without_body:
                at, _, is_whole = _body(answers, at, headers, until_end=True, has_ended=ends[1] is not None)
            received.answered = is_whole
            break
        end = answers.find(b"\r\n\r\n", at)
    left, cut = ends
    received.ended = not received.answered and (left is not None or cut is not None)
    received.cancelled = received.ended and left is not None and (cut is None or left <= cut)
    return at


def _head(text):
    first, *lines = text.decode("latin-1").split("\r\n")
    return first, [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def _body(text, at, headers, until_end, has_ended=False):
    """Where a body ends, the body, and whether it is all there."""
    named = {name.lower(): value for name, value in headers}
    if "chunked" in named.get("transfer-encoding", "").lower():
        return _chunks(text, at)
    if "content-length" in named:
        end = at + int(named["content-length"])
        return min(end, len(text)), text[at:end], end <= len(text)
    return (len(text), text[at:], has_ended) if until_end else (at, b"", True)


def _chunks(text, at):
    parts = []
    for _ in itertools.count():
        line = text.find(b"\r\n", at)
        if line < 0:
            break
        size = int(text[at:line].split(b";")[0] or b"0", 16)
        begins, ends = line + 2, line + 2 + size
        if len(text) < ends + 2:
            break
        parts.append(text[begins:ends])
        if size == 0:
            # The mock and the clients send no trailers.
            return ends + 2, b"".join(parts), True
        at = ends + 2
    return len(text), b"".join(parts), False
