"""Records how keyward 0.1.0 answers and what it leaves: see README.md beside this file.

    python3 record.py BINARY

Writes everything below this folder anew but itself and the README. Python's standard library, loopback alone, invented
keys. It takes about two minutes: it waits for one, so that some bindings have a rhythm.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BINARY = os.path.abspath(sys.argv[1])
HERE = Path(__file__).resolve().parent

NEWER = "sk-proj-example-default-newer-0123456789abNEW5"
OLD = "sk-proj-example-default-old-0123456789abcdOLD1"
NEW = "sk-proj-example-default-new-0123456789abcdNEW1"
STAGING_OLDER = "sk-proj-example-staging-older-0123456789abOLDR"
STAGING_OLD = "sk-proj-example-staging-old-0123456789abcdOLD2"
STAGING_NEW = "sk-proj-example-staging-new-0123456789abcdNEW2"
STAGING_NEXT = "sk-proj-example-staging-next-0123456789abcNXT2"
LEARNED_OLD = "sk-proj-example-learned-old-0123456789abcdOLD3"
LEARNED_NEW = "sk-proj-example-learned-new-0123456789abcdNEW3"
STRANGER = "sk-proj-example-stranger-0123456789abcdefgSTR4"
N8N_KEYS = {"main": "n8n_api_example_main_0123456789abcdef", "lab": "n8n_api_example_lab_0123456789abcdef"}
PAST = "2020-01-01T00:00:00.000Z"

CONFIG = """\
[proxy]
listen = "127.0.0.1:0"
upstream = "@UPSTREAM@"
allow_host = []

[keys.default]
current = { file = "keys/default" }

[keys.staging]
current = { file = "keys/staging" }
next = { file = "keys/staging-next" }
previous = [{ file = "keys/staging-older" }]
grace = "0s"
policy = "inject"
workflows = { S3 = { policy = "enforce" } }

[n8n.main]
url = "@N8N_MAIN@"
api_key = { file = "keys/n8n-main" }
set = "default"

[n8n.lab]
url = "@N8N_LAB@"
api_key = { file = "keys/n8n-lab" }
set = "staging"
keyward = "http://keyward:8080"

[log]
format = "json"
"""

LEARNING = """\
[proxy]
listen = "127.0.0.1:0"
upstream = "@UPSTREAM@"

[log]
format = "json"
"""


# === Upstream: the first rule that fits answers; an empty word fits everything, the status 0 ends the connection ===


def refusal(code, kind="invalid_request_error"):
    return {"error": {"message": "An example.", "type": kind, "param": None, "code": code}}


def upstream_rules():
    known = [OLD, NEW, STAGING_OLDER, STAGING_OLD, STAGING_NEW, STAGING_NEXT, LEARNED_OLD, LEARNED_NEW]
    rules = [
        ["/v1/images/generations", "", 500, {"error": {"message": "An example.", "type": "server_error"}}],
        ["/v1/audio/speech", "", 0, {}],
        ["/v1/embeddings", "", 429, refusal("insufficient_quota", "insufficient_quota")],
        ["/v1/moderations", "", 429, refusal("rate_limit_exceeded", "requests")],
        ["/v1/files", "", 403, refusal("insufficient_permissions")],
        ["/v1/completions", "", 400, refusal("model_not_found")],
        ["/v1/nothing", "", 404, refusal("unknown_url")],
    ]
    rules += [["", key, 200, {"object": "list", "data": []}] for key in known]
    return rules + [["", "", 401, refusal("invalid_api_key")]]


# === n8n: what its API answers, by method and path ===


def node(id, name, record, kind="@n8n/n8n-nodes-langchain.openAi", **more):
    made = {"id": id, "name": name, "type": kind, "typeVersion": 1.8, "parameters": {}}
    if record:
        made["credentials"] = {"openAiApi": {"id": record, "name": "Record " + record}}
    return made | more


def workflow(id, name, nodes, active=True, trigger="n8n-nodes-base.scheduleTrigger", draft=None):
    start = {"id": "t-" + id, "name": "Start", "type": trigger, "typeVersion": 1, "parameters": {}}
    running = [start] + nodes
    version = {"versionId": "v1-" + id, "createdAt": PAST, "nodes": running}
    return {
        "id": id, "name": name, "active": active, "isArchived": False, "connections": {}, "settings": {},
        "nodes": [start] + draft if draft else running, "createdAt": PAST, "updatedAt": PAST,
        "versionId": ("v2-" if draft else "v1-") + id, "activeVersionId": "v1-" + id if active else None,
        "activeVersion": version if active else None, "triggerCount": 1,
    }  # fmt: skip


def first_workflow(id, name, nodes):
    """As n8n 1.x tells it: there are no versions."""
    made = workflow(id, name, nodes)
    return {key: made[key] for key in made if "ersion" not in key}


def n8n_answers():
    typed = {"url": "https://api.openai.com/v1/models", "headerParameters": {
        "parameters": [{"name": "Authorization", "value": "Bearer " + OLD}]}}  # fmt: skip
    summary, translation = node("n1", "Summary", "c1"), node("n2", "Translation", "c1")
    main = [
        workflow("W1", "Weekly report", [summary, translation, node("n3", "Title", "c1")]),
        workflow("W2", "FAQ bot", [node("n1", "Answer", "c2"), node("n2", "Check", "c2")]),
        workflow("W3", "Goes past", [node("n1", "Old model", "c1", "@n8n/n8n-nodes-langchain.lmOpenAi"),
                                     node("n2", "Typed", None, "n8n-nodes-base.httpRequest", parameters=typed)]),
        workflow("W4", "Switched off", [node("n1", "Draft it", "c1")], active=False),
        workflow("W5", "Never ran", [node("n1", "Write", "c3")]),
        workflow("W6", "With a draft", [node("n1", "Write", "c1")], draft=[node("n1", "Write", "c2")]),
        workflow("W8", "By hand", [node("n1", "Try", "c1")], trigger="n8n-nodes-base.manualTrigger"),
    ]  # fmt: skip
    records = [{"id": id, "name": "Record " + id, "type": "openAiApi", "createdAt": PAST, "updatedAt": PAST}
               for id in ("c1", "c2", "c3")]  # fmt: skip
    lab = [first_workflow("S1", "Staging report", [node("n1", "Summary", "s1")])]
    executions = {"11": ("W1", "trigger"), "3": ("W4", "webhook"), "31": ("W1", "trigger")}
    done = {"status": "OK", "message": "Connection successful!"}
    text = {"type": "string"}
    fields = {"apiKey": text, "organizationId": text, "url": text}
    answers = {"main": listed("workflows", main) | listed("credentials", records), "lab": listed("workflows", lab)}
    answers["main"] |= {
        "GET credentials/schema/openAiApi":
            [200, {"properties": fields | {"header": {"type": "boolean"}}, "required": ["apiKey"]}],
        "PATCH credentials/c3": [200, records[2]],
        "POST credentials/c3/test": [200, done],
    }  # fmt: skip
    executions = [{"id": id, "workflowId": started, "mode": mode, "status": "success", "finished": True, "retryOf": None,
                   "startedAt": PAST, "stoppedAt": PAST} for id, (started, mode) in executions.items()]  # fmt: skip
    answers["main"] |= listed("executions", executions)
    answers["main"] |= {"GET executions/" + one["id"]: [200, one] for one in executions}
    answers["lab"] |= listed("executions", [])
    answers["lab"] |= {
        "GET credentials/schema/openAiApi": [200, {"properties": fields, "required": ["apiKey"]}],
        "GET credentials": [405, {"message": "GET method not allowed"}],
        "PATCH credentials/s1": [405, {"message": "PATCH method not allowed"}],
    }
    return {name: {"api_key": N8N_KEYS[name], "answers": answers[name]} for name in answers}


def listed(kind, entries):
    return {"GET " + kind: [200, {"data": entries, "nextCursor": None}]}


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status, body = self.server.find(self.command, self.path.split("?")[0], self.headers)
        if status == 0:
            self.close_connection = True
            return
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_OPTIONS = answer


def serve(find):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads, server.find = True, find
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def of_upstream(rules):
    def find(_, path, headers):
        bearer = headers.get("authorization") or ""
        fits = (rule for rule in rules if path.startswith(rule[0]) and (not rule[1] or bearer == "Bearer " + rule[1]))
        return next(fits)[2:]

    return find


def of_n8n(told):
    def find(method, path, headers):
        if headers.get("x-n8n-api-key") != told["api_key"]:
            return 401, {"message": "unauthorized"}
        return told["answers"].get(f"{method} {path.removeprefix('/api/v1/')}", [404, {"message": "Not Found"}])

    return find


# === keyward ===


class Keyward:
    """One home: its config, keys and state."""

    def __init__(self, config, keys, replaced):
        self.home = Path(tempfile.mkdtemp(prefix="keyward-0.1.0-"))
        self.replaced = replaced
        (self.home / "keys").mkdir()
        for name, key in keys.items():
            self.put(name, key)
        (self.home / "keyward.toml").write_text(filled(config, replaced))
        self.admin, self.process, self.log = "127.0.0.1:1", None, None

    def put(self, name, key):
        draft = self.home / "keys" / (name + ".draft")
        draft.write_text(key + "\n")
        draft.chmod(0o600)
        draft.rename(self.home / "keys" / name)

    @property
    def state(self):
        return self.home / ".local/state/keyward"

    def environment(self):
        return {"HOME": str(self.home), "KEYWARD_ADMIN_LISTEN": self.admin}

    def start(self):
        self.admin = "127.0.0.1:0"
        self.log = self.home / "log"
        self.process = subprocess.Popen(
            [BINARY, "serve", "--config", "keyward.toml"], cwd=self.home, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"), stderr=subprocess.STDOUT)  # fmt: skip
        [line] = until(lambda: self.lines("listening"))
        self.listen, self.admin = line["address"], line["admin"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.admin = "127.0.0.1:1"

    def lines(self, event=None):
        whole = [line for line in self.log.read_text().splitlines(True) if line.endswith("\n")]
        assert all(line.startswith("{") for line in whole), whole
        parsed = [json.loads(line) for line in whole]
        return [line for line in parsed if event in (None, line["event"])]

    def run(self, *arguments):
        done = subprocess.run([BINARY, *arguments, "--config", "keyward.toml"], cwd=self.home, env=self.environment(),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def ask(self, method, path, authorized=True):
        token = (self.state / "admin.token").read_text().strip()
        headers = {"Authorization": "Bearer " + token} if authorized else {}
        status, _, body = talk(self.admin, method, path, headers)
        return {"status": status, "body": json.loads(body)}

    def rotate(self, name, key, set_name):
        before = self.current(set_name)
        self.put(name, key)
        until(lambda: self.current(set_name) != before)

    def current(self, set_name):
        sets = self.ask("GET", "/api/v1/sets")["body"]["sets"]
        keys = next(one["keys"] for one in sets if one["set"] == set_name)
        return [key["fingerprint"] for key in keys if key["role"] == "current"]


def talk(address, method, path, headers, body="", source="127.0.0.1"):
    """Gives the status, the headers and the body of the answer."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 20, (source, 0)) as stream:
        sent = {"Host": address} | headers | {"Content-Length": str(len(body)), "Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        stream.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n{body}".encode())
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
    head, _, rest = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    found = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    if found.get("transfer-encoding") == "chunked":
        whole = b""
        while rest:
            length, _, rest = rest.partition(b"\r\n")
            whole, rest = whole + rest[: int(length, 16)], rest[int(length, 16) + 2 :]
        rest = whole
    return int(first.split()[1]), found, rest


def until(look):
    for _ in range(600):
        if found := look():
            return found
        time.sleep(0.05)
    raise TimeoutError


def filled(text, replaced):
    for mark, value in replaced.items():
        text = text.replace(mark, value)
    return text


# === Requests ===

SDK = {"User-Agent": "OpenAI/JS 6.9.1", "X-Stainless-Lang": "js", "X-Stainless-Package-Version": "6.9.1"}
LANGCHAIN = SDK | {"User-Agent": "langchainjs-openai/1.0.0"}
HTTP_REQUEST = {"User-Agent": "n8n"}


def bearer(key):
    return {"Authorization": "Bearer " + key}


def tagged(key, workflow, execution, node, path="/v1/chat/completions", more="", **headers):
    tag = f"wf={workflow};ex={execution};node={node}{more}"
    return [path, {"X-N8N-Tag": tag} | LANGCHAIN | (bearer(key) if key is not None else {}) | headers]


def pathed(key, workflow, execution, node, rest="v1/chat/completions"):
    return [f"/n8n/{workflow}/{execution}/{node}/{rest}", LANGCHAIN | bearer(key)]


def untagged(key):
    return ["/v1/chat/completions", SDK | bearer(key)]


def send(keyward, request, source="127.0.0.1", method="POST"):
    path, headers = request
    return talk(keyward.listen, method, path, headers, "{}" if method == "POST" else "", source)


def history(keyward, token):
    """All that happened before the state was kept."""
    for request in (
        tagged(OLD, "W1", 1, "n1", more=";inst=main;name=Weekly%20report"),
        tagged(OLD, "W1", 1, "n2", more=";inst=main"),
        tagged(OLD, "W1", 1, "n3", more=";inst=main"),
        pathed(OLD, "W2", 2, "n1"),
        pathed(OLD, "W2", 2, "n2"),
        tagged(OLD, "W4", 3, "n1"),
        tagged(OLD, "W6", 4, "n1"),
        tagged(OLD, "W7", 5, "n1", more=";name=Deleted"),
        untagged(OLD),
        tagged(OLD, "editor", "", "", "/v1/models"),
        pathed(OLD, "editor", "__UNKNOWN__", "none", "v1/models"),
        ["/v1/chat/completions", HTTP_REQUEST | bearer(OLD) | {"OpenAI-Organization": "n8n-W8-6"}],
        ["/v1/chat/completions", LANGCHAIN | bearer(OLD) | {
            "X-N8N-Workflow-Id": "W9", "X-N8N-Execution-Id": "7", "X-N8N-Node-Id": "n1", "X-N8N-Workflow-Name": "Elsewhere"}],
        tagged(STAGING_OLD, "S1", 1, "n1", more=";set=staging;inst=lab"),
        tagged(STAGING_OLD, "S2", 2, "n1", more=";set=staging;inst=lab"),
    ):  # fmt: skip
        send(keyward, request)
    send(keyward, tagged(OLD, "W1", 8, "n1", more=";inst=main"), "127.0.0.2")
    send(keyward, untagged(OLD), "127.0.0.2")
    # A visit ends when nothing came for a minute.
    time.sleep(62)
    send(keyward, tagged(OLD, "W1", 9, "n1", more=";inst=main"))
    send(keyward, tagged(OLD, "W4", 10, "n1"))
    keyward.rotate("default", NEW, "default")
    keyward.rotate("staging", STAGING_NEW, "staging")
    for request in (
        tagged(NEW, "W1", 11, "n1", more=";inst=main"),
        # Stale, with an incident that stays open.
        tagged(OLD, "W1", 11, "n2", more=";inst=main"),
        # Its incident is closed by the good one that follows.
        pathed(OLD, "W2", 12, "n1"),
        pathed(NEW, "W2", 13, "n1"),
        untagged(NEW),
        tagged(NEW, "editor", "", "", "/v1/models"),
        pathed(OLD, "editor", "__UNKNOWN__", "none", "v1/models"),
        tagged(STAGING_NEW, "S1", 14, "n1", more=";set=staging;inst=lab"),
        tagged(STAGING_NEW, "S2", 15, "n1", more=";set=staging;inst=lab"),
        tagged(token, "S3", 16, "n1", more=";set=staging;inst=lab"),
        tagged(STAGING_NEXT, "S4", 17, "n1", more=";set=staging;inst=lab"),
        # Another set's key, one that no set lists, none, and several that are none.
        tagged(NEW, "S5", 18, "n1", more=";set=staging;inst=lab"),
        tagged(STRANGER, "W10", 19, "n1"),
        tagged(None, "W1", 11, "n3", more=";inst=main"),
        tagged(None, "W11", 20, "n1"),
        tagged("undefined", "W12", 21, "n1"),
        tagged("", "W12", 22, "n2"),
        tagged("[object Object]", "W12", 23, "n3"),
        ["/v1/models", {"User-Agent": "curl/8.0"} | bearer(STRANGER)],
        ["/v1/models", {"User-Agent": "curl/8.0"}],
    ):
        send(keyward, request)
    # The ledger's own thread writes a fifth of a second later.
    time.sleep(1)
    dead = binding_of(keyward, "W7")
    code, said, _ = keyward.run("ack", dead, "--json")
    assert code == 0, said


def binding_of(keyward, workflow, node="n1"):
    rows = keyward.ask("GET", "/api/v1/bindings?workflow=" + workflow)["body"]["bindings"]
    return next(row["binding"] for row in rows if row["node_id"] == node)


def kinds(token, other):
    """One request of each kind, sent once more after the restart: in the order in which they are sent."""
    lab = ";set=staging;inst=lab"
    return {
        "current key, tagged": tagged(NEW, "W1", 31, "n1", more=";inst=main"),
        "current key, tagged by headers": ["/v1/chat/completions", LANGCHAIN | bearer(NEW) | {
            "X-N8N-Workflow-Id": "W9", "X-N8N-Execution-Id": "32", "X-N8N-Node-Id": "n1"}],
        "current key, tagged by the path": pathed(NEW, "W2", 33, "n1"),
        "current key, tagged by the organization": ["/v1/chat/completions", HTTP_REQUEST | bearer(NEW) | {
            "OpenAI-Organization": "n8n-W8-34"}],
        "current key, untagged": untagged(NEW),
        "current key, by the editor": tagged(NEW, "editor", "", "", "/v1/models"),
        "previous key, tagged": tagged(OLD, "W1", 31, "n2", more=";inst=main"),
        "previous key, by the editor": pathed(OLD, "editor", "__UNKNOWN__", "none", "v1/models"),
        "previous key, untagged": untagged(OLD),
        "next key": tagged(STAGING_NEXT, "S4", 35, "n1", more=lab),
        "token, exchanged for the current key": tagged(token, "S3", 36, "n1", more=lab),
        "token, where nothing is put in": tagged(other, "W13", 37, "n1"),
        "another set's key, refused": tagged(NEW, "S5", 38, "n1", more=lab),
        "no key, refused": tagged(None, "S6", 39, "n1", more=lab),
        "unknown key": tagged(STRANGER, "W10", 40, "n1"),
        "dropped header": tagged(None, "W1", 31, "n3", more=";inst=main"),
        "missing header": ["/v1/models", {"User-Agent": "curl/8.0"}],
        "malformed: undefined": tagged("undefined", "W12", 41, "n1"),
        "malformed: empty": tagged("", "W12", 42, "n2"),
        "malformed: object": tagged("[object Object]", "W12", 43, "n3"),
        "malformed: scheme": ["/v1/models", {"Authorization": NEW, "X-N8N-Tag": "wf=W12;ex=44;node=n4"}],
        "malformed: placeholder": tagged("YOUR_API_KEY", "W12", 45, "n5"),
        "a tag that is none": ["/v1/models", LANGCHAIN | bearer(NEW) | {"X-N8N-Tag": "wf=W1;what=is this"}],
        "a set that there is not": tagged(NEW, "W14", 46, "n1", more=";set=nowhere"),
        "sources that disagree": ["/n8n/W2/47/n1/v1/models", bearer(NEW) | {"X-N8N-Tag": "wf=W1;ex=47;node=n1"}],
        "a path that is repaired": ["/v1/v1/models", LANGCHAIN | bearer(NEW)],
        "quota": tagged(NEW, "W1", 48, "n1", "/v1/embeddings", ";inst=main"),
        "rate limit": tagged(NEW, "W1", 48, "n1", "/v1/moderations", ";inst=main"),
        "no permission": tagged(NEW, "W1", 48, "n1", "/v1/files", ";inst=main"),
        "a faulty request": tagged(NEW, "W1", 48, "n1", "/v1/completions", ";inst=main"),
        "no such path": tagged(NEW, "W1", 48, "n1", "/v1/nothing", ";inst=main"),
        "upstream's fault": tagged(NEW, "W1", 48, "n1", "/v1/images/generations", ";inst=main"),
        "upstream breaks off": tagged(NEW, "W1", 48, "n1", "/v1/audio/speech", ";inst=main"),
    }  # fmt: skip


def learning_history(keyward):
    send(keyward, untagged(LEARNED_OLD))
    for key, workflow, execution in ((LEARNED_OLD, "L1", 1), (LEARNED_OLD, "L2", 2), (LEARNED_OLD, "L1", 3),
                                     (LEARNED_NEW, "L1", 4), (LEARNED_NEW, "L1", 5), (STRANGER, "L3", 6)):  # fmt: skip
        send(keyward, tagged(key, workflow, execution, "n1"))
    time.sleep(1)


LEARNING_KINDS = {
    "learned current key": tagged(LEARNED_NEW, "L1", 11, "n1"),
    "learned previous key": tagged(LEARNED_OLD, "L2", 12, "n1"),
    "unknown key": tagged(STRANGER, "L3", 13, "n1"),
    "untagged": untagged(LEARNED_NEW),
}


# === Recording ===


def keep_home(keyward, into, config):
    """What a keyward that was stopped leaves."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    (into / "keyward.toml").write_text(config)
    shutil.copytree(keyward.home / "keys", into / "keys")
    shutil.copytree(keyward.state, into / "state")
    back = {value: mark for mark, value in keyward.replaced.items()}
    for path in (into / "state").glob("*.json"):
        path.write_text(filled(path.read_text(), back))
    for path in into.rglob("*.lock"):
        path.unlink()


def questions(keyward):
    """Every question to the API that changes nothing."""
    sets = [one["set"] for one in keyward.ask("GET", "/api/v1/sets")["body"]["sets"]]
    bindings = [row["binding"] for row in keyward.ask("GET", "/api/v1/bindings?limit=1000")["body"]["bindings"]]
    asked = ["status", "sets", *(f"sets/{name}/rotation" for name in sets), "sets/nowhere/rotation"]
    asked += ["bindings", "bindings?limit=2", "bindings?state=confirmed", "bindings?state=asleep", "bindings?what=1"]
    asked += [f"bindings/{id}" for id in bindings] + ["bindings/0000000000", "nowhere"]
    asked += ["incidents", "incidents?state=closed", "n8n"]
    return asked + [f"executions/{id}" for id in EXECUTIONS]


# Of these answers, each entry is kept.
WHOLE = ("GET sets", "GET incidents")

EXECUTIONS = (1, 4, 11, 12)

LATER_EXECUTIONS = (31, 36, 38, 48, 11, 12)

NAMED = ["check", "check --online", "status", "rotation", "incidents --all", "bindings", "token list", "keys list"]

OF_N8N = ["n8n audit", "n8n audit --n8n lab", "n8n blame 11 --n8n main", "n8n blame 3 --n8n main",
          "n8n connect s1 --n8n lab --yes", "n8n connect c3 --n8n main --url http://keyward:8080 --yes",
          "n8n disconnect c3 --n8n main --yes"]  # fmt: skip

# It is sent away before there is anything to judge.
TURNED_AWAY = ("CONNECT", "api.openai.com:443", {})

OFFLINE = ["status", "rotation", "incidents --all", "token list", "keys list"]


def run_commands(keyward, commands, running):
    told = []
    for command in commands:
        code, stdout, stderr = keyward.run(*command.split(), "--json")
        assert code != 3, stderr
        told.append({"command": command, "running": running, "code": code,
                     "json": json.loads(stdout) if stdout else None, "stderr": bool(stderr)})  # fmt: skip
    return told


def record(keyward, into, sent, has_n8n):
    """Starts it once more on what it left, and writes down all that it says."""
    keyward.start()
    if has_n8n:
        until(lambda: all(one["state"] == "ok" for one in keyward.ask("GET", "/api/v1/status")["body"]["n8n"]))
    answers = {f"GET {path}": keyward.ask("GET", "/api/v1/" + path) for path in questions(keyward)}
    answers["GET status without a token"] = keyward.ask("GET", "/api/v1/status", False)
    write(HERE / "words.json", words_of(keyward.ask("GET", "/api/v1/openapi.json")["body"]))
    commands = run_commands(keyward, NAMED + OF_N8N * has_n8n, True)
    events = follow(keyward)
    exchanges = []
    for kind, (path, headers) in sent.items():
        status, found, body = send(keyward, (path, headers))
        [line] = until(lambda: [line for line in keyward.lines("exchange") if line["id"] == found["x-keyward-id"]])
        ours = sorted(name for name in found if name.startswith("x-keyward"))
        answer = json.loads(body) if line["action"] == "refuse" else None
        exchanges.append({"kind": kind, "path": path, "headers": headers, "status": status, "ours": ours,
                          "answer": answer, "line": line})  # fmt: skip
    until(lambda: events[1].text().count("event: exchange") == len(sent))
    later = {f"GET executions/{id}": keyward.ask("GET", f"/api/v1/executions/{id}") for id in LATER_EXECUTIONS}
    rows = keyward.ask("GET", "/api/v1/bindings?state=stale")["body"]["bindings"]
    unwell = min(row["binding"] for row in rows)
    later[f"POST bindings/{unwell}/ack"] = keyward.ask("POST", f"/api/v1/bindings/{unwell}/ack")
    later["POST links"] = keyward.ask("POST", "/api/v1/links")
    talk(keyward.listen, *TURNED_AWAY)
    until(lambda: keyward.lines("refused_early"))
    commands += run_commands(keyward, [f"ack {unwell}"] + ["n8n blame 31 --n8n main"] * has_n8n, True)
    token = (keyward.state / "admin.token").read_text().strip()
    _, _, metrics = talk(keyward.admin, "GET", "/metrics", bearer(token))
    if has_n8n:
        keyward.rotate("default", NEWER, "default")
    keyward.stop()
    commands += run_commands(keyward, OFFLINE + [f"ack {unwell}"], False)
    write(into / "api.json", {asked: one if asked in WHOLE else thin(one) for asked, one in answers.items()})
    write(into / "api-later.json", thin(later))
    write(into / "exchanges.json", exchanges)
    write(into / "commands.json", [thin(one) for one in commands])
    stream = [json.loads(data) for data in re.findall(r"event: exchange\n(?:id: .*\n)?data: (.*)\n", events[1].text())]
    write(into / "events.json", [stream[0], stream[-1]])
    write(into / "log.json", [line for line in keyward.lines() if line["event"] != "exchange"])
    (into / "metrics.txt").write_text(series(metrics.decode()))


def words_of(document):
    """The words that the document has for each field: more than one history shows."""
    schemas, words = document["components"]["schemas"], {}

    def look(schema, field):
        if isinstance(schema, list):
            for one in schema:
                look(one, field)
        elif isinstance(schema, dict):
            named = schemas.get(schema.get("$ref", "").rpartition("/")[2], {})
            for word in schema.get("enum", []) + named.get("enum", []):
                words.setdefault(field, set()).add(word)
            for key, one in schema.items():
                look(one, key if key not in KEYWORDS else field)

    look(document, "")
    return {field: sorted(found - {None}) for field, found in sorted(words.items())}


# Of JSON Schema: what stands below them is of the field above.
KEYWORDS = ("oneOf", "anyOf", "allOf", "items", "type", "enum", "schema")


class Stream:
    def __init__(self, socket):
        self.bytes, self.socket = b"", socket
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while piece := self.socket.recv(65536):
            self.bytes += piece

    def text(self):
        return self.bytes.decode(errors="replace")


def follow(keyward):
    host, port = keyward.admin.split(":")
    token = (keyward.state / "admin.token").read_text().strip()
    connection = socket.create_connection((host, int(port)))
    head = f"GET /api/v1/events HTTP/1.1\r\nHost: {keyward.admin}\r\nAuthorization: Bearer {token}\r\n\r\n"
    connection.sendall(head.encode())
    stream = Stream(connection)
    until(lambda: "retry: " in stream.text())
    return connection, stream


def series(metrics):
    """Each series without its value, and its kind: one for all buckets and for all workers, whose number is the machine's."""
    kinds = sorted(line for line in metrics.splitlines() if line.startswith("# TYPE "))
    plain = re.compile(r',?(le|worker)="[^"]*"')
    names = {plain.sub("", line.rpartition(" ")[0]) for line in metrics.splitlines() if line[:1] != "#"}
    return "".join(line + "\n" for line in kinds + sorted(names))


# Fields whose values are words of a closed list.
WORDS = ("state", "silence", "code", "verdict", "diagnosis", "outcome", "action", "answer", "holder", "severity", "role",
         "policy", "when", "stage", "upstream", "by", "workflow_state", "attribution", "client", "level", "event")  # fmt: skip


def thin(value):
    """Of the entries of a list, those with a field, a type or a word that the ones before do not have."""
    if isinstance(value, dict):
        return {key: thin(one) for key, one in value.items()}
    if not isinstance(value, list):
        return value
    seen, kept = set(), []
    for one in map(thin, value):
        if not seen.issuperset(facts := set(likeness(one))):
            seen |= facts
            kept.append(one)
    return kept


def likeness(value, path=""):
    if isinstance(value, dict):
        yield path, tuple(sorted(value))
        for key, one in value.items():
            yield from likeness(one, f"{path}/{key}")
    elif isinstance(value, list):
        yield path, "list"
        for one in value:
            yield from likeness(one, path + "[]")
    else:
        yield path, value if path.rpartition("/")[2] in WORDS else type(value).__name__


def write(path, value):
    """One entry a line, so that it can be read and compared."""
    pairs = value.items() if isinstance(value, dict) else ((None, one) for one in value)
    name = lambda key: "" if key is None else json.dumps(key) + ": "  # noqa: E731
    lines = [name(key) + json.dumps(one, ensure_ascii=False, separators=(",", ":")) for key, one in pairs]
    ends = "{}" if isinstance(value, dict) else "[]"
    path.write_text(ends[0] + "\n" + ",\n".join(lines) + "\n" + ends[1] + "\n")


def main():
    rules, n8n = upstream_rules(), n8n_answers()
    write(HERE / "upstream.json", rules)
    write(HERE / "n8n.json", n8n)
    replaced = {"@UPSTREAM@": serve(of_upstream(rules)), "@N8N_MAIN@": serve(of_n8n(n8n["main"])),
                "@N8N_LAB@": serve(of_n8n(n8n["lab"]))}  # fmt: skip
    keys = {"default": OLD, "staging": STAGING_OLD, "staging-next": STAGING_NEXT, "staging-older": STAGING_OLDER,
            "n8n-main": N8N_KEYS["main"], "n8n-lab": N8N_KEYS["lab"]}  # fmt: skip
    keyward = Keyward(CONFIG, keys, replaced)
    keyward.start()
    _, token, _ = keyward.run("token", "new", "staging", "--name", "lab")
    _, other, _ = keyward.run("token", "new", "default", "--name", "n8n")
    _, gone, _ = keyward.run("token", "new", "default")
    token, other, gone = (text.split()[-1] for text in (token, other, gone))
    tokens = json.loads(keyward.run("token", "list", "--json")[1])["tokens"]
    code, _, said = keyward.run("token", "revoke", next(one["fingerprint"] for one in tokens if one["name"] is None))
    assert code == 0, said
    until(lambda: send(keyward, tagged(token, "S3", 1, "n1", more=";set=staging;inst=lab"))[0] == 200)
    history(keyward, token)
    older = subprocess.run([BINARY, "keys", "fingerprint", "--config", "keyward.toml"], cwd=keyward.home,
                           env=keyward.environment(), input=STAGING_OLDER, capture_output=True, text=True)  # fmt: skip
    code, _, said = keyward.run("keys", "revoke", re.search("[0-9a-f]{8,}", older.stdout)[0])
    assert code == 0, said
    code, said, wrong = keyward.run("n8n", "connect", "c3", "--n8n", "main", "--url", "http://keyward:8080", "--yes")
    assert code == 0, said + wrong
    keyward.stop()
    keep_home(keyward, HERE / "rotation", CONFIG)
    record(keyward, HERE / "rotation", kinds(token, other), True)

    learning = Keyward(LEARNING, {}, {"@UPSTREAM@": replaced["@UPSTREAM@"]})
    learning.start()
    learning_history(learning)
    learning.stop()
    keep_home(learning, HERE / "learning", LEARNING)
    record(learning, HERE / "learning", LEARNING_KINDS, False)
    for one in (keyward, learning):
        shutil.rmtree(one.home)


main()
