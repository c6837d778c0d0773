"""A fake OpenAI on the loopback interface: what n8n's nodes need of it, and a journal of what came.

It accepts a set of keys, which a test may change, and refuses all others in OpenAI's own words.  Paths
are OpenAI's own too: one that still has a prefix of the proxy is not found here, as it would not be there.
"""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import refusals

ANSWER = "Hello from the fake OpenAI"


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

        def do_GET(self):
            self._answer()

        def do_POST(self):
            self._answer()

        def log_message(self, *_):
            """The journal tells more than http.server's lines on stderr."""

        def _answer(self):
            body = self._body()
            openai.journal.append(Received(self.command, self.path, list(self.headers.items()), body))
            key = refusals.bearer(self.headers.get("Authorization"))
            if key in openai.keys:
                self._route(body)
            else:
                self._refuse(refusals.body(self.path, key))

        def _route(self, body):
            match (self.command, self.path):
                case ("GET", "/v1/models"):
                    self._json(200, {"object": "list", "data": [_model("gpt-4o-mini"), _model("gpt-4o")]})
                case ("POST", "/v1/chat/completions"):
                    self._complete(json.loads(body), _chat, _chat_events)
                case ("POST", "/v1/responses"):
                    self._complete(json.loads(body), _response, _response_events)
                case (method, path):
                    self._json(404, _error(f"Invalid URL ({method} {path})", None))

        def _complete(self, request, whole, events):
            if request.get("stream"):
                self._stream(events(request))
            else:
                self._json(200, whole(request))

        def _refuse(self, body):
            self._whole(401, body, {"WWW-Authenticate": refusals.REALM})

        def _json(self, status, value):
            self._whole(status, json.dumps(value, indent=2).encode(), {})

        def _whole(self, status, body, headers):
            self._head(status, "application/json", {"Content-Length": len(body), **headers})
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


def _error(message, code):
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _model(name):
    return {"id": name, "object": "model", "created": 1700000000, "owned_by": "openai"}


# === /v1/chat/completions ===


def _chat_base(request, kind):
    return {"id": "chatcmpl-fake", "object": kind, "created": 1700000000, "model": request["model"]}


def _chat(request):
    message = {"role": "assistant", "content": ANSWER, "refusal": None}
    return {
        **_chat_base(request, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }


def _chat_events(request):
    base = _chat_base(request, "chat.completion.chunk")
    words = [{"content": word} for word in _words()]
    for delta in [{"role": "assistant", "content": ""}, *words, {}]:
        reason = None if delta else "stop"
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        yield f"data: {json.dumps({**base, 'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"


# === /v1/responses ===


def _message(status, content):
    return {"id": "msg_fake", "type": "message", "status": status, "role": "assistant", "content": content}


def _text(text):
    return {"type": "output_text", "text": text, "annotations": []}


def _response(request):
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": request["model"],
        "output": [_message("completed", [_text(ANSWER)])],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "text": {"format": {"type": "text"}},
        "metadata": {},
        "usage": {
            "input_tokens": 9,
            "output_tokens": 5,
            "total_tokens": 14,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _response_events(request):
    whole = _response(request)
    started = {**whole, "status": "in_progress", "output": [], "usage": None}
    part = {"output_index": 0, "item_id": "msg_fake", "content_index": 0}
    steps = [
        ("response.created", {"response": started}),
        ("response.output_item.added", {"output_index": 0, "item": _message("in_progress", [])}),
        ("response.content_part.added", {**part, "part": _text("")}),
        *(("response.output_text.delta", {**part, "delta": word}) for word in _words()),
        ("response.output_text.done", {**part, "text": ANSWER}),
        ("response.output_item.done", {"output_index": 0, "item": whole["output"][0]}),
        ("response.completed", {"response": whole}),
    ]
    for number, (name, fields) in enumerate(steps):
        event = {"type": name, "sequence_number": number, **fields}
        yield f"event: {name}\ndata: {json.dumps(event)}\n\n"


def _words():
    return [f"{word} " for word in ANSWER.split()[:-1]] + ANSWER.split()[-1:]
