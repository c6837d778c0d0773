"""What the fake OpenAI answers, endpoint by endpoint: as much of it as n8n's nodes read."""

import base64
import json
import struct

ANSWER = "Hello from the fake OpenAI"
# The smallest image there is: one pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CREATED = 1700000000


def of(method, path, request):
    """The answer to a request: a value for JSON, bytes for audio, a list of events for a stream, None for 404."""
    streams = bool(request.get("stream"))
    match (method, path):
        case ("GET", "/v1/models"):
            names = ("gpt-4o-mini", "gpt-4o", "gpt-3.5-turbo-instruct", "text-embedding-3-small")
            return _list([{"id": name, "object": "model", "created": CREATED, "owned_by": "x"} for name in names])
        case ("POST", "/v1/chat/completions"):
            return _chat_events(request) if streams else _chat(request)
        case ("POST", "/v1/responses"):
            return _response_events(request) if streams else _response(request)
        case ("POST", "/v1/completions"):
            return _completion(request)
        case ("POST", "/v1/embeddings"):
            return _embeddings(request)
        case ("POST", "/v1/moderations"):
            return {"id": "modr-fake", "model": ANSWER, "results": [{"flagged": False, "categories": {}}]}
        case ("POST", "/v1/images/generations"):
            return {"created": CREATED, "data": [{"b64_json": PNG, "revised_prompt": ANSWER}]}
        case ("POST", "/v1/audio/speech"):
            return b"ID3\x04fake"
        case ("POST", "/v1/audio/transcriptions" | "/v1/audio/translations"):
            return {"text": ANSWER}
        case ("POST", "/v1/files"):
            return _FILE
        case ("GET", "/v1/files"):
            return _list([_FILE])
        case ("GET", "/v1/assistants"):
            return _list([{"id": "asst_fake", "object": "assistant", "name": ANSWER, "model": "gpt-4o-mini"}])
        case ("POST", "/v1/threads/runs") | ("GET", "/v1/threads/thread_fake/runs/run_fake"):
            return {"id": "run_fake", "object": "thread.run", "thread_id": "thread_fake", "status": "completed"}
        case ("GET", "/v1/threads/thread_fake/messages"):
            content = [{"type": "text", "text": {"value": ANSWER, "annotations": []}}]
            return _list([{"id": "msg_fake", "run_id": "run_fake", "role": "assistant", "content": content}])


def error(message, code):
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


_FILE = {
    "id": "file-fake",
    "object": "file",
    "bytes": 5,
    "created_at": CREATED,
    "filename": ANSWER,
    "purpose": "assistants",
    "status": "processed",
}


def _list(items):
    return {"object": "list", "data": items, "has_more": False, "first_id": None, "last_id": None}


# === /v1/chat/completions ===


def _chat_base(request, kind):
    return {"id": "chatcmpl-fake", "object": kind, "created": CREATED, "model": request["model"]}


def _chat(request):
    call = _tool_call(request)
    message = {"role": "assistant", "content": ANSWER, "refusal": None}
    if call:
        message = {**message, "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if call else "stop"}
    return {
        **_chat_base(request, "chat.completion"),
        "choices": [choice],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }


def _chat_events(request):
    base = _chat_base(request, "chat.completion.chunk")
    call = _tool_call(request)
    said = [{"tool_calls": [{"index": 0, **call}]}] if call else [{"content": word} for word in _words()]
    events = []
    for delta in [{"role": "assistant", "content": ""}, *said, {}]:
        reason = None if delta else "tool_calls" if call else "stop"
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        events.append(f"data: {json.dumps({**base, 'choices': [choice]})}\n\n")
    return [*events, "data: [DONE]\n\n"]


def _tool_call(request):
    """A call of the first tool, unless it has been called already."""
    if not request.get("tools") or request["messages"][-1]["role"] == "tool":
        return None
    function = request["tools"][0]["function"]
    arguments = {name: "hi" for name in function["parameters"].get("properties", {})}
    called = {"name": function["name"], "arguments": json.dumps(arguments)}
    return {"id": "call_fake", "type": "function", "function": called}


# === /v1/responses ===


def _message(status, content):
    return {"id": "msg_fake", "type": "message", "status": status, "role": "assistant", "content": content}


def _text(text):
    return {"type": "output_text", "text": text, "annotations": []}


def _response(request):
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": CREATED,
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
    return [
        f"event: {name}\ndata: {json.dumps({'type': name, 'sequence_number': number, **fields})}\n\n"
        for number, (name, fields) in enumerate(steps)
    ]


def _words():
    return [f"{word} " for word in ANSWER.split()[:-1]] + ANSWER.split()[-1:]


# === The other endpoints ===


def _completion(request):
    return {
        "id": "cmpl-fake",
        "object": "text_completion",
        "created": CREATED,
        "model": request["model"],
        "choices": [{"text": ANSWER, "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }


def _embeddings(request):
    vector = [0.5] * 8
    if request.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<8f", *vector)).decode()
    inputs = request["input"] if isinstance(request["input"], list) else [request["input"]]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(inputs)]
    return {**_list(data), "model": request["model"], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
