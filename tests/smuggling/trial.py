"""Sends the corpus through one keyward to one server, and compares what each side made of it.

Three stories have to be the same, request by request: what the client was told, what keyward's log says,
and what the server saw.  A server may refuse a request that keyward passed on, but as a whole: it must not see another one.
"""

import base64
import json
import re
import socket
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import corpus

CLIENTS = 4
PATIENCE = 20
HIDDEN = {"keep-alive", "proxy-connection", "x-n8n-tag", "api-key"}
# What keyward says of its own connection, where the client asked for it.
OWN = {"connection": {"te", "upgrade"}, "te": {"trailers"}}


@dataclass(frozen=True)
class Way:
    """A policy, and the key that clients send under it."""

    policy: str
    key: str
    good: str
    welcome: bool


@dataclass(frozen=True)
class Run:
    """A case in certain pieces, under a number that tells it from all others."""

    number: int
    case: corpus.Case
    pieces: str

    def title(self):
        return f"{self.case.name} ({self.pieces})"


@dataclass(frozen=True)
class Heard:
    status: str
    id: str | None
    saw: dict | None


@dataclass
class Result:
    """What came of one server under one policy."""

    runs: int = 0
    requests: Counter = field(default_factory=Counter)
    differences: list = field(default_factory=list)
    # What the server saw, by the run's title and place, to be compared with what others saw.
    seen: dict = field(default_factory=dict)


def runs(cases, policy):
    """Under the first policy everything; under the others, what may go another way there."""
    chosen = [(case, "whole") for case in cases if policy == "observe" or not case.swept]
    if policy == "observe":
        chosen += [(case, "lines") for case in cases if not case.swept]
        chosen += [(case, "bytes") for case in cases if not case.swept and not case.large()]
    elif policy == "inject":
        chosen = [(case, pieces) for case, pieces in chosen if case.has_key()]
    return [Run(number, case, pieces) for number, (case, pieces) in enumerate(chosen)]


def run(cases, way, keyward, server):
    """Sends everything, ends keyward and compares."""
    result = Result()
    todo = runs(cases, way.policy)
    host, port = keyward.url.removeprefix("http://").split(":")
    with ThreadPoolExecutor(CLIENTS) as clients:
        heard = list(clients.map(lambda each: _send((host, int(port)), each, way), todo))
    keyward.stop()
    lines = {line["id"]: line for line in keyward.exchanges()}
    records = Counter(_told(seen) for seen in server.records())
    untagged = defaultdict(list)
    answered = {each.id for answers in heard for each in answers}
    for line in lines.values():
        if line["id"] not in answered:
            untagged[line.get("execution_id")].append(line)
    result.runs = len(todo)
    for each, answers in zip(todo, heard):
        unanswered = untagged.pop(str(each.number), [])
        _compare(result, each, way, answers, lines, unanswered, records, server)
    for line in (line for lines in untagged.values() for line in lines):
        result.differences.append(f"in the log, and not sent: {line}")
    for told, count in records.items():
        if count > 0:
            title = todo[int(told[0])].title() if told[0] else "no case"
            result.differences.append(f"{title}: the server saw what was not answered: {told[1:4]}")
    return result


def _compare(result, each, way, answers, lines, unanswered, records, server):
    steps, refused = [], False
    for place, answer in enumerate(answers):
        line = lines.get(answer.id)
        if answer.saw:
            told = _told(answer.saw)
            records[told] -= 1
            if records[told] < 0:
                result.differences.append(f"{each.title()}: the server answered what it did not see: {told}")
            result.requests["seen alike"] += 1
            result.seen[each.title(), way.policy, place] = answer.saw
            _check_head(result, each, way, answer.saw, server)
            saw = f"{answer.saw['method']} {answer.saw['target'].split('?')[0]} {answer.saw['length']}"
            step = _step(line) if line else "nothing in the log"
            if saw != step:
                result.differences.append(f"{each.title()}: the log says {step!r}, the server saw {saw!r}")
        elif line and line["action"] != "refuse" and line["outcome"] != "client_gone":
            # The server's own refusal: it saw no request at all.
            result.requests["refused by the server"] += 1
            refused, step = True, f"{line['method']} {line['path']} "
        elif line and line["outcome"] == "client_gone":
            step = "cut"
        else:
            step = answer.status
        steps.append(step)
    steps += ["cut" if line["outcome"] == "client_gone" else str(line) for line in unanswered]
    ways = _ways(each, way)
    if not any(_is_way(steps, expected, refused or not way.welcome) for expected in ways):
        result.differences.append(f"{each.title()}: it went {steps}, not {ways}")


def _check_head(result, each, way, saw, server):
    """Upstream's host, one good key, and nothing that is the connection's own or keyward's."""
    by_name = defaultdict(list)
    for name, value in saw["headers"]:
        by_name[name].append(value)
    # nginx adds what is its own for the server behind it.
    foreign = HIDDEN & set(by_name) or any(set(by_name[name]) - said for name, said in OWN.items())
    hidden = server.name != "nginx" and foreign
    good = by_name["authorization"] == [f"Bearer {way.good}"] and by_name["host"] == [server.authority]
    if hidden or not good:
        result.differences.append(f"{each.title()}: the server saw an odd head: {saw['headers']}")


def _is_way(steps, expected, may_end):
    if len(steps) != len(expected) and not (may_end and steps and len(steps) < len(expected)):
        return False
    same = lambda step, wanted: step == wanted or (step == "cut" and wanted == "open")
    # Of a request that the server refused it is not known how much of its body it took, nor whether that had an end.
    over = lambda step, wanted: step.endswith(" ") and (wanted in ("cut", "open") or wanted.startswith(step))
    return all(same(step, wanted) or over(step, wanted) for step, wanted in zip(steps, expected))


def _step(line):
    return f"{line['method']} {line['path']} {line['bytes_in']}"


def _told(seen):
    case = next((value for name, value in seen["headers"] if name == "x-case"), None)
    return (case, seen["method"], seen["target"], seen["length"], seen["digest"])


def _filling(each, way):
    marks = f"X-N8N-Tag: wf=case;ex={each.number}\r\nX-Case: {each.number}\r\n"
    request = lambda path: f"GET {path} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {way.good}\r\n{marks}\r\n"
    return corpus.Filling(f"Authorization: Bearer {way.key}\r\n{marks}", request("/v1/evil"), request("/v1/next"))


def _ways(each, way):
    _, ways = each.case.fill(_filling(each, way))
    if way.welcome:
        return ways
    # It takes a good key to come so far; an honest request behind and a hidden one have it.
    stays = lambda step: step.isdigit() or step.startswith(("GET /v1/next ", "GET /v1/evil "))
    return [[step if stays(step) else "401" for step in steps] for steps in ways]


# === The client ===


def _send(address, each, way):
    """All answers until keyward closes.  The client leaves when it has all that there may be, unless keyward has to."""
    data, _ = each.case.fill(_filling(each, way))
    enough = _enough(_ways(each, way))
    heard = b""
    with socket.create_connection(address, timeout=PATIENCE) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in _cut(data, each.pieces):
                stream.sendall(piece)
        except OSError:
            pass  # keyward may have heard enough.
        try:
            while True:
                if enough is not None and len(_parse(heard)) >= enough:
                    stream.shutdown(socket.SHUT_WR)
                    enough = None
                if not (piece := stream.recv(65536)):
                    break
                heard += piece
        except TimeoutError:
            return [*_parse(heard), Heard("stuck", None, None)]
        except OSError:
            pass
    return _parse(heard)


def _enough(ways):
    def leaves(steps):
        if steps and steps[-1] == "open":
            return len(steps) - 1
        closes = steps and steps[-1] in ("cut", "400", "405", "414", "417", "431", "501")
        return -1 if closes else len(steps)

    most = max(map(leaves, ways))
    return None if most < 0 else most


def _cut(data, pieces):
    match pieces:
        case "whole":
            return [data]
        case "lines":
            return re.findall(rb"[^\r\n]*[\r\n]|[^\r\n]+", data)
        case _:
            return [data[at : at + 1] for at in range(len(data))]


def _parse(data):
    answers = []
    while (end := data.find(b"\r\n\r\n")) >= 0:
        status, *lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status, behind = status.split(" ")[1], data[end + 4 :]
        if status.startswith("1"):
            data = behind
            continue
        # Behind the head of an answer to HEAD comes the next one.  keyward's own answers come in one piece.
        bare = not behind or behind.startswith(b"HTTP/1.1 ")
        if "x-saw" in headers:
            bare = _in_header(headers["x-saw"])["method"] == "HEAD"
        if headers.get("transfer-encoding") == "chunked" and not bare:
            body, behind, whole = _chunks(behind)
        else:
            length = 0 if bare else int(headers.get("content-length", len(behind)))
            body, behind, whole = behind[:length], behind[length:], len(behind) >= length
        if not whole:
            break
        answers.append(Heard(status, headers.get("x-keyward-id"), _saw(headers, body)))
        data = behind
    return answers


def _saw(headers, body):
    """What the server says that it saw.  Of a HEAD it can say so in a header alone."""
    if "x-saw" not in headers:
        return None
    return json.loads(body) if body else _in_header(headers["x-saw"])


def _in_header(value):
    return json.loads(base64.b64decode(value))


def _chunks(data):
    body = b""
    while (end := data.find(b"\r\n")) >= 0:
        size = int(data[:end], 16)
        body += data[end + 2 : end + 2 + size]
        if len(data) < end + 4 + size:
            break
        data = data[end + 4 + size :]
        if size == 0:
            return body, data, True
    return body, b"", False
