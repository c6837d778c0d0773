"""What aimock lacks: OpenAI's refusals word for word, and uploads larger than ten MiB."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import refusals


class Stub:
    """A server that takes one key.  It runs in threads of this process from its making until `stop`."""

    def __init__(self, key):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(key))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reset(self):
        """It remembers nothing."""

    def journal(self):
        """What it got, the tap tells."""
        return []

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def _handler_for(key):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._answer({"object": "list", "data": []})

        def do_POST(self):
            digest, length = hashlib.sha256(), 0
            for piece in self._pieces():
                digest.update(piece)
                length += len(piece)
            made = {"id": f"file-{digest.hexdigest()[:16]}", "object": "file", "bytes": length}
            self._answer({**made, "created_at": 1, "filename": "huge.bin", "purpose": "user_data"})

        def log_message(self, *_):
            """The tap tells more than http.server's lines on stderr."""

        def _answer(self, value):
            sent = refusals.bearer(self.headers.get("Authorization"))
            if sent == key:
                self._whole(200, json.dumps(value).encode())
            else:
                self._whole(401, refusals.body(self.path, sent), {"WWW-Authenticate": refusals.REALM})

        def _whole(self, status, body, headers={}):
            self.send_response(status)
            always = {"Content-Type": "application/json", "x-request-id": "req_stub", "Content-Length": len(body)}
            for name, value in {**always, **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def _pieces(self):
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                left = int(self.headers.get("Content-Length", 0))
                while left and (piece := self.rfile.read(min(left, 1 << 16))):
                    left -= len(piece)
                    yield piece
                return
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

    return Handler
