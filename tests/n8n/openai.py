"""A fake OpenAI on the loopback interface: what n8n's nodes need of it, and a journal of what came.

It accepts a set of keys, which a test may change, and refuses all others in OpenAI's own words.  Paths
are OpenAI's own too: one that still has a prefix of the proxy is not found here, as it would not be there.
"""

import json
import time
from dataclasses import dataclass

import answers
import fake_openai


@dataclass(frozen=True)
class Received:
    """One request as it reached OpenAI."""

    method: str
    path: str
    headers: list
    body: bytes
    # In seconds since the Unix epoch.
    at: float = 0.0

    def values(self, name):
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]


class OpenAI(fake_openai.Server):
    """The server."""

    def __init__(self, keys):
        self.keys = set(keys)
        self.journal = []
        # A test may have something else happen: a function of what came, which gives status, JSON value and
        # headers of another answer, or None.
        self.interfere = None
        super().__init__(_handler_for(self))


def _handler_for(openai):
    """The class that http.server makes an instance of for each connection, bound to one fake."""

    class Handler(fake_openai.Handler):
        def do_GET(self):
            self._answer()

        def do_POST(self):
            self._answer()

        def _answer(self):
            body = b"".join(self.pieces())
            received = Received(self.command, self.path, list(self.headers.items()), body, time.time())
            openai.journal.append(received)
            if instead := openai.interfere and openai.interfere(received):
                return self._json(*instead)
            if self.key() in openai.keys:
                self._route(body)
            else:
                self.refuse()

        def _route(self, body):
            request = json.loads(body) if body.startswith(b"{") else {}
            if body == b"{}":
                return self._json(400, answers.error("you must provide a model parameter", None))
            match answers.of(self.command, self.path.partition("?")[0], request):
                case None:
                    self._json(404, answers.error(f"Invalid URL ({self.command} {self.path})", None))
                case list() as events:
                    self._stream(events)
                case bytes() as audio:
                    self.whole(200, audio, kind="audio/mpeg")
                case value:
                    self._json(200, value)

        def _json(self, status, value, headers=None):
            self.whole(status, json.dumps(value, indent=2).encode(), headers=headers)

        def _stream(self, events):
            self.head(200, "text/event-stream; charset=utf-8", {"Transfer-Encoding": "chunked"})
            for event in events:
                data = event.encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                # Each event shall arrive on its own, as a model's words do.
                time.sleep(0.005)
            self.wfile.write(b"0\r\n\r\n")

    return Handler
