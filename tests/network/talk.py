"""Both ends of HTTP/1.1, plain enough to stop in the middle of anything."""

import socket
import threading
import time

import processes

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Upstream:
    """Answers by the last part of the path. Remembers when each of its connections ended."""

    def __init__(self, listener, name=""):
        self.listener, self.name, self.heard, self.ended = listener, name, set(), {}
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def port(self):
        return self.listener.getsockname()[1]

    def url(self):
        host, port = self.listener.getsockname()
        return f"http://{host}:{port}"

    def wait_for(self, what):
        """Waits until it was asked for that."""
        processes.until(lambda: what in self.heard, timeout=20, what=f"a request for {what}")

    def close_all(self):
        for stream in self._open:
            _close(stream)

    def _accept(self):
        while True:
            stream, _ = self.listener.accept()
            self._open.append(stream)
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream):
        said = "nothing"
        try:
            while head := read_head(stream):
                said = head.split(b" ")[1].decode().rsplit("/", 1)[-1]
                self.heard.add(said)
                self._answer(stream, said)
        except OSError:
            pass
        self.ended[said] = time.monotonic()
        _close(stream)

    def _answer(self, stream, said):
        if said == "stream":  # One piece, then nothing.
            stream.sendall(CHUNKED + b"5\r\nfirst\r\n")
            _read_on(stream)
        elif said == "trickle":  # A piece every second.
            stream.sendall(CHUNKED)
            stream.settimeout(1)
            while True:
                stream.sendall(b"5\r\npiece\r\n")
                try:
                    if not stream.recv(1):
                        raise OSError("it left")
                except TimeoutError:
                    pass
        elif said in ("silence", "upload"):
            _read_on(stream)
        elif said == "websocket":
            stream.sendall(SWITCH)
            _read_on(stream)
        else:
            body = f"{self.name} {said}".encode()
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def ask(address, what, stream=None):
    """The status and the text of an answer that is short."""
    stream = stream or socket.create_connection(address, timeout=150)
    stream.sendall(request("GET", what))
    return read_answer(stream)


def request(method, what, headers=""):
    tag = f"X-N8N-Tag: wf={what}\r\n"
    return f"{method} /v1/{what} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer sk-a\r\n{tag}{headers}\r\n".encode()


def read_answer(stream):
    head = read_head(stream)
    if not head:
        return 0, ""
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    body = b""
    while len(body) < length and (piece := stream.recv(length - len(body))):
        body += piece
    return int(head.split(b" ")[1]), body.decode()


def read_head(stream):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := stream.recv(1)):
            return b""
        head += byte
    return head


def read_to_the_end(stream):
    """All that comes until the connection ends, in whatever way."""
    heard = b""
    try:
        while piece := stream.recv(65536):
            heard += piece
    except ConnectionError:
        pass
    return heard


def _read_on(stream):
    while stream.recv(65536):
        pass
    raise OSError("it left")


def _close(stream):
    try:
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    stream.close()
