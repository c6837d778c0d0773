"""Does what a program that uses the SDK does, one job after another, and tells what the SDK handed to it.

    python driver.py PORT TRANSPORT

Jobs come as lines of JSON over a connection to PORT: {case, base, credential}.  The answer is a line, too: {result} or
{raised}, what the SDK threw.  TRANSPORT is `plain`, the SDK's own client, or `http2`, its asynchronous one with
HTTP/2; what either gives is awaited where it has to be, so that the cases are written once.
"""

import asyncio
import hashlib
import inspect
import json
import os
import socket
import ssl
import sys

import httpx2
import openai
import pydantic

MODEL = "gpt-4o"
HELLO = [
    {"role": "system", "content": "Be brief, and keep “quotes” and 👋 as they are."},
    {"role": "user", "content": "Say hello"},
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Event(pydantic.BaseModel):
    name: str
    date: str
    guests: list[str]


class Client:
    """The SDK, opened in the way of a transport."""

    def __init__(self, transport):
        self._over_http2 = transport == "http2"
        self._authority = os.environ.get("CA_FILE")

    def trust(self):
        """A context of its own for each use: the HTTP client offers HTTP/2 in the one that it gets."""
        return ssl.create_default_context(cafile=self._authority) if self._authority else None

    def open(self, job, **options):
        credential = job["credential"]
        hooks = {}
        if "authorization" in credential:
            value = credential["authorization"]
            options["default_headers"] = {"Authorization": value or "lost on the way"}
            hooks = {} if value else {"request": [self._lose_authorization]}
        options = {"base_url": job["base"], "api_key": credential.get("key", "never sent"), **options}
        if self._over_http2:
            http = httpx2.AsyncClient(http2=True, verify=self.trust(), event_hooks=hooks)
            return openai.AsyncOpenAI(http_client=http, **options)
        return openai.OpenAI(http_client=httpx2.Client(event_hooks=hooks) if hooks else None, **options)

    @property
    def _lose_authorization(self):
        def lose(request):
            del request.headers["authorization"]

        async def lose_soon(request):
            lose(request)

        return lose_soon if self._over_http2 else lose


async def settle(value):
    return await value if inspect.isawaitable(value) else value


async def each(stream):
    stream = await settle(stream)
    if hasattr(stream, "__aiter__"):
        async for one in stream:
            yield one
    else:
        for one in stream:
            yield one


async def collect(stream):
    return [one async for one in each(stream)]


# === The cases ===

CASES = {}


def case(function):
    """Lets a job name it."""
    CASES[function.__name__] = function
    return function


@case
async def models(client, job):
    return await collect(client.open(job).models.list())


@case
async def chat(client, job):
    return await settle(
        client.open(job).chat.completions.create(model=MODEL, messages=HELLO, temperature=0.25, seed=7)
    )


@case
async def chat_stream(client, job):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return await collect(client.open(job).chat.completions.create(model=MODEL, messages=HELLO, **options))


@case
async def tools(client, job):
    create = client.open(job).chat.completions.create
    messages = [{"role": "user", "content": "What is the weather in Zürich?"}]
    asked = await settle(create(model=MODEL, messages=messages, tools=[WEATHER]))
    message = asked.choices[0].message
    (call,) = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": call.function.arguments}
    messages += [message.model_dump(exclude_none=True), result]
    return [asked, await settle(create(model=MODEL, messages=messages, tools=[WEATHER]))]


@case
async def structured(client, job):
    completion = await settle(
        client.open(job).chat.completions.parse(
            model=MODEL, messages=[{"role": "user", "content": "Extract the event"}], response_format=Event
        )
    )
    return {"whole": completion, "parsed": completion.choices[0].message.parsed}


@case
async def responses(client, job):
    return await settle(client.open(job).responses.create(model=MODEL, input="Say hello", store=False))


@case
async def responses_stream(client, job):
    return await collect(client.open(job).responses.create(model=MODEL, input="Say hello", stream=True))


@case
async def embeddings(client, job):
    made = client.open(job).embeddings.create(model="text-embedding-3-small", input=["one", "zwei", "三"])
    return await settle(made)


@case
async def moderations(client, job):
    return await settle(client.open(job).moderations.create(input="Say hello"))


@case
async def images(client, job):
    made = client.open(job).images.generate(model="gpt-image-1", prompt="A picture", size="1024x1024")
    return await settle(made)


@case
async def speech(client, job):
    answer = await settle(
        client.open(job).audio.speech.create(model="tts-1", voice="alloy", input="Read this aloud")
    )
    return {"kind": answer.response.headers.get("content-type"), "bytes": await settle(answer.read())}


@case
async def transcription(client, job):
    file = ("höre.wav", data(100_000), "audio/wav")
    return await settle(client.open(job).audio.transcriptions.create(model="whisper-1", file=file))


@case
async def files(client, job):
    kept = client.open(job).files
    made = await settle(kept.create(purpose="user_data", file=("bytes.bin", data(1_000))))
    listed = await collect(kept.list(purpose="user_data", limit=20))
    found = await settle(kept.retrieve(made.id))
    content = await settle((await settle(kept.content(made.id))).read())
    deleted = await settle(kept.delete(made.id))
    try:
        gone = await settle(kept.retrieve(made.id))
    except openai.APIError as error:
        gone = describe(error)
    return {"made": made, "listed": listed, "found": found, "content": content, "deleted": deleted, "gone": gone}


@case
async def batches(client, job):
    opened = client.open(job)
    body = {"model": MODEL, "messages": HELLO}
    lines = [
        json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body})
        for name in "ab"
    ]
    file = await settle(opened.files.create(purpose="batch", file=("b.jsonl", "\n".join(lines).encode())))
    of_chats = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    steps = [await settle(opened.batches.create(input_file_id=file.id, **of_chats))]
    while not steps[-1].output_file_id and len(steps) < 20:
        steps.append(await settle(opened.batches.retrieve(steps[0].id)))
    output = await settle(opened.files.content(steps[-1].output_file_id))
    content = await settle(output.read())
    return {"steps": steps, "output": content.decode(), "listed": await collect(opened.batches.list())}


@case
async def upload(client, job):
    """The 9 MiB that aimock takes."""
    file = ("large.bin", data(9 << 20))
    return await settle(client.open(job).files.create(purpose="user_data", file=file))


@case
async def huge_upload(client, job):
    file = ("huge.bin", data(64 << 20))
    return await settle(client.open(job).files.create(purpose="user_data", file=file))


@case
async def upload_in_parts(client, job):
    """What the SDK makes of a file that is too large for one request."""
    file, uploads = data(20 << 20), client.open(job).uploads
    about = {"filename": "parts.bin", "bytes": len(file), "mime_type": "application/octet-stream", "purpose": "user_data"}
    md5 = hashlib.md5(file).hexdigest()
    done = await settle(uploads.upload_file_chunked(file=file, part_size=8 << 20, md5=md5, **about))
    return {"done": done, "cancelled": await settle(uploads.cancel(done.id))}


@case
async def head(client, job):
    answer = await settle(client.open(job).models.with_raw_response.list())
    return {"status": answer.status_code, "headers": list(answer.headers.multi_items())}


@case
async def protocol(client, job):
    return (await settle(client.open(job).models.with_raw_response.list())).http_response.http_version


@case
async def refused_request(client, job):
    return await settle(client.open(job).chat.completions.create(model=MODEL, messages=HELLO))


@case
async def fails_once(client, job):
    return await refused_request(client, job)


@case
async def dropped(client, job):
    headers = {"x-aimock-chaos-disconnect": "1"}
    create = client.open(job).chat.completions.create
    return await settle(create(model=MODEL, messages=HELLO, extra_headers=headers))


@case
async def timed_out(client, job):
    opened, headers = client.open(job, timeout=0.6, max_retries=1), {"x-aimock-chaos-latency": "20000"}
    try:
        return await settle(opened.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=headers))
    finally:
        # Over HTTP/2 the client ends no stream that it gives up (httpcore2 sends no RST_STREAM), only its connection.
        await settle(opened.close())


@case
async def broken_off(client, job):
    messages = [{"role": "user", "content": "Break off"}]
    every = []
    try:
        async for one in each(client.open(job).chat.completions.create(model=MODEL, messages=messages, stream=True)):
            every.append(one)
    except Exception as error:
        return {"all": every, "raised": type(error).__name__}
    return {"all": every, "raised": None}


@case
async def aborted(client, job):
    messages = [{"role": "user", "content": "Count slowly"}]
    opened = client.open(job)
    stream = await settle(opened.chat.completions.create(model=MODEL, messages=messages, stream=True))
    every = []
    async for one in each(stream):
        every.append(one)
        if len(every) == 3:
            await settle(stream.close())
            # As above.
            await settle(opened.close())
            break
    return every


@case
async def realtime(client, job):
    trust = client.trust()
    options = {"ssl": trust} if trust else {}
    opened = client.open(job).realtime.connect(model="gpt-realtime", websocket_connection_options=options)
    if hasattr(opened, "__aenter__"):
        async with opened as connection:
            return await _converse(connection)
    with opened as connection:
        return await _converse(connection)


async def _converse(connection):
    every = [await settle(connection.recv())]
    content = [{"type": "input_text", "text": "Say hello"}]
    await settle(connection.conversation.item.create(item={"type": "message", "role": "user", "content": content}))
    await settle(connection.response.create())
    while every[-1].type != "response.done":
        every.append(await settle(connection.recv()))
    return every


def data(length):
    """As many bytes of every value, in an order that shows where one is missing."""
    block = bytes((at ^ (at >> 8)) & 0xFF for at in range(1 << 16))
    return (block * (length // len(block) + 1))[:length]


# === The jobs ===


def describe(error):
    """What a program can see of an error."""
    told = {name: getattr(error, name, None) for name in ("status_code", "code", "type", "param")}
    causes = []
    cause = error
    while cause := cause.__cause__:
        causes.append(type(cause).__name__)
    message, has_request = str(error), bool(getattr(error, "request_id", None))
    return {"class": type(error).__name__, **told, "message": message, "request": has_request, "causes": causes}


def plain(value):
    """What JSON has no form for. Bytes are told by their number and their digest."""
    if isinstance(value, bytes):
        return {"length": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    return value.model_dump(mode="json", warnings=False)


async def answer(client, job):
    try:
        return {"result": await CASES[job["case"]](client, job)}
    except Exception as error:
        return {"raised": describe(error)}


async def main(port, transport):
    client = Client(transport)
    with socket.create_connection(("127.0.0.1", int(port))) as runner:
        lines = runner.makefile("rw", encoding="utf-8", newline="\n")
        # The next job comes when this one is done, so nothing is kept waiting by a read that blocks.
        while line := lines.readline():
            lines.write(json.dumps(await answer(client, json.loads(line)), default=plain) + "\n")
            lines.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
