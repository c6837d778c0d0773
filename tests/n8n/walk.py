"""The walk-through of docs/rotate-a-key.md, done step by step with the fleet.

Each step is a function of the walk and of `expect`; its docstring is the name of its check.  They rest on one another.
"""

import json
import re
import threading
import time
from datetime import datetime

import fleet
import keyward
import n8n
import openai
import processes
import workflows
from stage import TAGGED_PATH, keep, new_key, tagged

# All that an API key needs for everything here; n8n 1 knows fewer, and looks at none.
SCOPES = ["workflow:list", "workflow:read", "execution:list", "execution:read"]
SCOPES_OF_CREDENTIALS = ["credential:list", "credential:read", "credential:update"]
N8N = """
[n8n.main]
url = "{url}"
api_key = {{ file = "{key}" }}
refresh = "10s"
"""
ROTATION = """
[rotation]
quiet = "0s"
"""

# What other steps leave behind: a key tried out by a second keyward, and a workflow that is gone.
LEFT_BEHIND = ("n8n's editor tried it out", "requests come from workflow")


class Walk:
    """A keyward that knows its n8n, with the fleet in it.  What it starts is registered with `cleanup`."""

    def __init__(self, installed, binary, folder, cleanup):
        self.old, self.new = new_key(), new_key()
        # The second one stands for what is behind another address than keyward's.
        self.openai, self.elsewhere = (openai.OpenAI([self.old, self.new]) for _ in range(2))
        cleanup.callback(self.openai.stop)
        cleanup.callback(self.elsewhere.stop)
        self.n8n = n8n.N8n(installed, folder)
        cleanup.callback(lambda: self.n8n.stop())
        self.n8n.ready()
        scopes = SCOPES + (SCOPES_OF_CREDENTIALS if self.major >= 2 else [])
        self.api_key = self.n8n.make_key("keyward", scopes)
        key = folder / "n8n-api-key"
        keep(key, self.api_key)
        own = folder / "walk"
        own.mkdir()
        self._settings = N8N.format(url=self.n8n.url, key=key) + ROTATION
        self._binary, self._folder = binary, folder
        self.keyward = keyward.Keyward(binary, own, self.openai.url, self.old, self.old, settings=self._settings)
        cleanup.callback(self.keyward.stop)
        self.rotated = self.n8n.create_credential("OpenAI", self.tagged(self.old))
        self.forgotten = self.n8n.create_credential("OpenAI, a copy", self.tagged(self.old))
        base = f"={self.keyward.url}{TAGGED_PATH}"
        self.fleet = fleet.Fleet(self.n8n, (self.rotated, self.forgotten), base)

    def enforcing(self):
        """Another keyward, which knows the same n8n and takes tokens."""
        own = self._folder / "enforcing"
        own.mkdir()
        keys = (self.new, self.old)
        return keyward.Keyward(self._binary, own, self.openai.url, *keys, policy="enforce", settings=self._settings)

    @property
    def major(self):
        return self.n8n.release.major

    def tagged(self, key):
        """What a credential holds that leads to keyward and tags its nodes."""
        return tagged(self.major, self.keyward, key)

    def of_nodes(self, count):
        """The next lines of nodes, until so many nodes were seen.  What else comes meanwhile, as a press may, counts for none."""
        lines = []

        def come():
            lines.extend(line for line in self.keyward.news(0) if line.get("workflow_id"))
            return len({(line["workflow_id"], line["node_id"]) for line in lines}) >= count

        processes.until(come, timeout=20, what=f"lines of {count} nodes", pause=0.02)
        return lines

    def senders(self, lines):
        """Who sent, by the names of workflow and node that n8n gives to the ids in the lines."""
        names = self.names()
        ids = {(line.get("workflow_id"), line.get("node_id")) for line in lines}
        return {names.get(pair, pair) for pair in ids}

    def knows_all_names(self):
        """Whether keyward has the names of all nodes that it has seen."""
        bindings = json.loads(self.keyward.command("bindings", "--json"))["bindings"]
        named = {(binding["workflow_name"], binding["node_name"]) for binding in bindings}
        return named >= {(node.workflow, node.name) for node in self.fleet.nodes}

    def names(self):
        """The names of all nodes, by the ids of workflow and node."""
        found = {}
        for workflow in self.n8n.api("GET", "/workflows?limit=250")["data"]:
            found |= {(str(workflow["id"]), node["id"]): (workflow["name"], node["name"]) for node in workflow["nodes"]}
        return found


def steps(major):
    """All steps with a release of n8n, in their order."""
    steps = [
        knows_every_node,
        names_each_stale_node,
        tells_the_story_of_an_execution,
        audits_n8n,
        connects_and_disconnects,
        puts_a_token_in_and_takes_it_out,
        mends_all_until_the_old_key_can_go,
    ]
    # The API of n8n 1 changes no credential.
    return [step for step in steps if major >= 2 or step is not puts_a_token_in_and_takes_it_out]


def knows_every_node(walk, expect):
    """sixty nodes in twenty workflows run, and keyward knows each by its name in n8n"""
    expect.equal("what did not end well", walk.fleet.run(), {})
    lines = walk.of_nodes(len(walk.fleet.nodes))
    expect.equal("the nodes that were seen", walk.senders(lines), {(node.workflow, node.name) for node in walk.fleet.nodes})
    expect.equal("the verdicts", {line["verdict"] for line in lines}, {"current"})
    # Names are fetched beside the traffic; the first request of a node may have come before its name.
    processes.until(walk.knows_all_names, timeout=60, what="the name of every node", pause=0.2)


def names_each_stale_node(walk, expect):
    """the key is rotated in one of two records, and every node of the other is named within a second, and no other"""
    walk.keyward.rotate(walk.new)
    walk.n8n.edit_credential(walk.rotated, walk.tagged(walk.new))
    with Stopwatch(walk.keyward) as stopwatch:
        expect.equal("what did not end well", walk.fleet.run(), {})
        lines = walk.of_nodes(len(walk.fleet.nodes))
        stopwatch.until_seen(lines)
    stale = [line for line in lines if line["verdict"] != "current"]
    wanted = walk.fleet.users_of(walk.forgotten)
    expect.equal("what is wrong with them", {line["diagnosis"] for line in stale}, {"stale_binding"})
    expect.equal("the nodes that are stale", walk.senders(stale), wanted)
    expect.equal("the same in keyward's own words", {(line.get("workflow_name"), line.get("node_name")) for line in stale}, wanted)
    slow = {line["id"]: stopwatch.delay(line) for line in stale if stopwatch.delay(line) > 1}
    expect.equal("what was named later than a second after it was answered", slow, {})
    walk.stale = stale


def tells_the_story_of_an_execution(walk, expect):
    """a stale execution of a called workflow is told with its nodes, what to do, and the execution that called it"""
    line = next(line for line in walk.stale if walk.names()[line["workflow_id"], line["node_id"]][0] == "Called 1")
    done = walk.keyward.run("n8n", "blame", line["execution_id"])
    expect.equal(f"the status of keyward n8n blame, which says {done.stdout}{done.stderr}", done.returncode, 1)
    parent = walk.n8n.execution(line["execution_id"])["data"]["parentExecution"]["executionId"]
    for said in ("Called 1", walk.names()[line["workflow_id"], line["node_id"]][1], "Workflow 1", parent):
        expect.true(f"the story names {said!r}: {done.stdout}", said in done.stdout)


def audits_n8n(walk, expect):
    """an audit lists every node and each fault that was planted, and nothing else"""
    planted = _plant(walk)
    done = walk.keyward.run("n8n", "audit", "--json")
    expect.equal(f"the status of keyward n8n audit, which says {done.stderr}", done.returncode, 1)
    told = json.loads(done.stdout)
    (told,) = told["instances"]
    nodes = {(row["workflow_name"], row["node_name"]) for row in told["nodes"]}
    wanted = {(node.workflow, node.name) for node in walk.fleet.nodes}
    wanted |= {(made.name, workflows.NODE) for made in planted.values()}
    expect.equal("the nodes", nodes ^ wanted, set())
    faults = sorted((fault["code"], _subject(fault)) for fault in told["faults"])
    wanted = [
        ("bypass", "Past keyward by its model"),
        ("bypass", "Straight to OpenAI"),
        ("deactivated", "Deactivated"),
        ("never_seen", "Elsewhere"),
        ("stale_record", walk.forgotten.name),
        ("typed_key", "A typed key"),
        *([("draft_differs", "A draft")] if walk.major >= 2 else []),
    ]
    expect.equal("the faults", faults, sorted(wanted))
    for secret in (walk.old, walk.new, walk.api_key):
        expect.true("no key is shown", secret not in done.stdout + done.stderr)
    walk.planted = planted


def _plant(walk):
    """One of every fault; gives the workflows by what is wrong with them."""
    aside = walk.n8n.create_credential("Elsewhere", {"apiKey": walk.old, "url": f"{walk.elsewhere.url}/v1"})
    tagged = f"={walk.keyward.url}{TAGGED_PATH}"

    def setting(base=None, credential=None):
        return workflows.Setting(walk.major, credential or walk.rotated, base, walk.old)

    made = {
        "model": walk.fleet.add("Past keyward by its model", workflows.language_model(setting())),
        "request": walk.fleet.add("Straight to OpenAI", workflows.http_request(setting(fleet.OPENAI))),
        "typed": walk.fleet.add("A typed key", workflows.http_request_with_typed_key(setting(tagged))),
        "aside": walk.fleet.add("Elsewhere", workflows.vendor_message(setting(credential=aside))),
        "off": walk.fleet.add("Deactivated", workflows.vendor_message(setting())),
    }
    run = [made["off"]]
    if walk.major >= 2:
        made["draft"] = walk.fleet.add("A draft", workflows.legacy_chat(setting()))
        run.append(made["draft"])
    for workflow in run:
        walk.n8n.call(workflow.webhook)
        walk.keyward.news(1)
    walk.n8n.deactivate(made["off"].id)
    if walk.major >= 2:
        walk.n8n.change(made["draft"].id, lambda node: _using(walk.forgotten, node))
    return made


def _using(credential, node):
    """A node that uses that credential, if it is the one that asks OpenAI."""
    chosen = {"openAiApi": {"id": credential.id, "name": credential.name}}
    return {**node, "credentials": chosen} if node["name"] == workflows.NODE else node


def _subject(fault):
    """Whom a fault is about: a credential record or a workflow, by name."""
    if fault["record"] and fault["code"] in ("never_seen", "stale_record"):
        return fault["record"]["name"]
    workflow = fault["workflow"] or fault["nodes"][0]
    return workflow["workflow_name"]


def connects_and_disconnects(walk, expect):
    """a credential that led past keyward is connected, and its next run has a name; disconnected, it is what it was"""
    before = {"apiKey": walk.new, "url": f"{walk.elsewhere.url}/v1"}
    fresh = walk.n8n.create_credential("Fresh", before)
    setting = workflows.Setting(walk.major, fresh, base="", key="")
    workflow = walk.n8n.import_workflow(workflows.vendor_message(setting))
    _expect_past_keyward(walk, expect, workflow)
    connect = ("n8n", "connect", "Fresh", "--url", walk.keyward.url, "--was", before["url"], "--yes", "--json", "--verify")
    connecting = walk.keyward.begin(*connect)
    try:
        waits = connecting.stderr.readline()
        expect.true(f"it says that it waits: {waits}", waits.startswith("Waiting"))
        # n8n's test comes first. By hand it is the editor's, and has no workflow; else keyward was told of it.
        if walk.major < 2:
            _connect_by_hand(walk, fresh, before)
            walk.keyward.news(1)
        else:
            of_fresh = lambda: [line for line in walk.keyward.presses() if line["pressed"] == fresh.id]
            processes.until(of_fresh, timeout=20, what="the line of n8n's test", pause=0.02)
        run = walk.n8n.run(workflow)
        told, said = connecting.communicate(timeout=60)
    finally:
        connecting.kill()
    expect.equal(f"the status of keyward n8n connect, which says {said}", connecting.returncode, 0)
    expect.true("no key is shown", walk.new not in told + said)
    told = json.loads(told)["credentials"][0]
    expect.equal("the state", told["state"], "connected" if walk.major >= 2 else "by_hand")
    for what in ("test", "run"):
        expect.equal(f"the verdict of the {what} that was seen", told["seen"][what]["verdict"], "current")
    wanted = {"workflow_id": workflow.sender, "node_id": workflow.node, "execution_id": str(run.execution["id"])}
    expect.equal("who was seen", {field: told["seen"]["run"].get(field) for field in wanted}, wanted)
    is_logged = lambda: any(wanted.items() <= line.items() for line in walk.keyward.exchanges())
    processes.until(is_logged, timeout=20, what="the run's line in the log", pause=0.02)
    walk.keyward.news(0)
    if walk.major >= 2:
        done = walk.keyward.run("n8n", "disconnect", "Fresh", "--yes")
        expect.equal(f"the status of keyward n8n disconnect, which says {done.stderr}", done.returncode, 0)
    else:
        walk.n8n.edit_credential(fresh, {**before, "organizationId": ""})
    _expect_past_keyward(walk, expect, workflow)
    # It goes past keyward again, so no old key could go while it is there.
    walk.n8n.remove(workflow.id)


def puts_a_token_in_and_takes_it_out(walk, expect):
    """a credential gets a token in place of its key, and the key again in place of the token"""
    enforcing = walk.enforcing()
    try:
        key = {"apiKey": walk.old, "url": f"{walk.elsewhere.url}/v1"}
        setting = workflows.Setting(walk.major, walk.n8n.create_credential("By token", key), base="", key="")
        workflow = walk.n8n.import_workflow(workflows.vendor_message(setting))
        where = ("--url", enforcing.url, "--was", key["url"])
        done = enforcing.run("n8n", "connect", "By token", *where, "--token", "--yes", "--json")
        said = f", which says {done.stderr}"
        expect.equal(f"the status of keyward n8n connect{said}", done.returncode, 0)
        shown = walk.new in done.stdout + done.stderr or re.search(r"kw_\w{8}", done.stdout + done.stderr)
        expect.true("neither key nor token is shown", not shown)
        known = len(walk.openai.journal)
        run = walk.n8n.run(workflow)
        expect.equal("the status of the execution", run.execution["status"], "success")
        line = enforcing.exchanges()[-1]
        wanted = {"verdict": "token", "workflow_id": workflow.sender, "execution_id": str(run.execution["id"])}
        expect.equal("what was seen of it", {field: line.get(field) for field in wanted}, wanted)
        # Meanwhile keyward may press the tests of other credentials.
        received = [request for request in walk.openai.journal[known:] if request.path != "/v1/models"]
        keys = {key for request in received for key in request.values("authorization")}
        expect.equal("the keys that came to OpenAI", keys, {f"Bearer {walk.new}"})
        done = enforcing.run("n8n", "disconnect", "By token", "--key-from", "current", "--yes")
        expect.equal(f"the status of keyward n8n disconnect, which says {done.stderr}", done.returncode, 0)
        _expect_past_keyward(walk, expect, workflow)
        tokens = enforcing.command("token", "list")
        expect.true(f"the token is revoked: {tokens}", "revoked" in tokens)
        walk.n8n.remove(workflow.id)
    finally:
        enforcing.stop()


def mends_all_until_the_old_key_can_go(walk, expect):
    """all that was found is mended, and the audit is clean: then, and not before, the old key can go"""
    expect.equal("whether the old key can go before", _answers(walk), {"no"})
    walk.n8n.edit_credential(walk.forgotten, walk.tagged(walk.new))
    _mend(walk)
    expect.equal("what did not end well", walk.fleet.run(), {})
    for made in walk.planted.values():
        walk.n8n.call(made.webhook)
    for record in walk.n8n.records():
        if record.name in ("Fresh", "By token", "Elsewhere"):
            walk.n8n.delete_credential(record)
    lines = walk.of_nodes(len(walk.fleet.nodes) + len(walk.planted))
    expect.equal("the verdicts", {line["verdict"] for line in lines}, {"current"})
    # The running keyward looks through n8n every ten seconds, and the audit is not clean beside a no of its.
    audits = []
    try:
        processes.until(lambda: _is_clean(walk, audits), timeout=60, what="a clean audit", pause=0.5)
    except TimeoutError as error:
        answer = walk.keyward.run("rotation", "--can-go")
        raise TimeoutError(f"{error}: {audits[-1].stdout}{audits[-1].stderr}{answer.stdout}") from error
    try:
        processes.until(lambda: _accepts(walk), timeout=60, what="a yes to whether the old key can go", pause=0.5)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {walk.keyward.run('rotation', '--can-go').stdout}") from error
    can_go = walk.keyward.run("rotation", "--can-go")
    expect.equal("what --can-go ends with", can_go.returncode, 0)
    expect.true(f"it says what was accepted: {can_go.stdout}", "accepted by you" in can_go.stdout)


def _is_clean(walk, audits):
    audits.append(walk.keyward.run("n8n", "audit"))
    return audits[-1].returncode == 0


def _accepts(walk):
    """Accepts what other steps left behind, and says whether the old key can go."""
    told = json.loads(walk.keyward.run("rotation", "--json").stdout)
    sets = told.get("sets", [told])
    answers = [key["can_go"] for rotation in sets for key in rotation["old_keys"]]
    bars = [bar for answer in answers for bar in [*answer["reasons"], *answer["doubts"]]]
    for bar in (bar for bar in bars if bar["text"].startswith(LEFT_BEHIND)):
        walk.keyward.command("accept", bar["doubt"], "--reason", "left behind by another step", "--yes")
    return [answer["answer"] for answer in answers] == ["yes"]


def _answers(walk):
    """What keyward says to whether each old key can go."""
    told = json.loads(walk.keyward.run("rotation", "--json").stdout)
    sets = told.get("sets", [told])
    return {key["can_go"]["answer"] for rotation in sets for key in rotation["old_keys"]}


def _mend(walk):
    """Does about each planted fault what the audit says."""
    tagged = f"={walk.keyward.url}{TAGGED_PATH}"
    setting = workflows.Setting(walk.major, walk.rotated, tagged, walk.new)
    drafts = {
        "model": workflows.language_model,
        "request": workflows.http_request,
        "typed": workflows.http_request,
        "aside": workflows.vendor_message,
        "draft": workflows.legacy_chat,
    }
    for fault, made in walk.planted.items():
        if fault in drafts:
            good = next(node for node in drafts[fault](setting).definition["nodes"] if node["name"] == workflows.NODE)
            fields = {field: good[field] for field in ("parameters", "credentials")}
            walk.n8n.change(made.id, lambda node: {**node, **fields} if node["name"] == workflows.NODE else node)
        walk.n8n.activate(made.id)


def _expect_past_keyward(walk, expect, workflow):
    """A run that goes elsewhere, with the key and without anything of keyward's."""
    known = len(walk.elsewhere.journal)
    run = walk.n8n.run(workflow)
    expect.equal("the status of the execution", run.execution["status"], "success")
    # The other keyward may press the tests of credentials.
    news = [line for line in walk.keyward.news(0) if line["path"] != "/v1/models"]
    expect.equal("what keyward saw of it", news, [])
    received = [request for request in walk.elsewhere.journal[known:] if request.path != "/v1/models"]
    expect.equal("what came elsewhere", len(received), 1)
    for request in received:
        expect.equal("the key", request.values("authorization"), [f"Bearer {walk.new}"])
        expect.equal("the tag", request.values("x-n8n-tag"), [])
        expect.equal("the organization", [value for value in request.values("openai-organization") if value], [])


def _connect_by_hand(walk, credential, before):
    """Puts into the form what `keyward n8n connect` prints for an n8n whose API cannot, and presses the test button."""
    done = walk.keyward.run("n8n", "connect", credential.name, "--url", walk.keyward.url, "--json")
    fields = {field["name"]: field for field in json.loads(done.stdout)["credentials"][0]["fields"]}
    told = {name: ("=" if field["expression"] else "") + field["value"] for name, field in fields.items()}
    data = {**before, "url": told["Base URL"], "organizationId": told["Organization ID"]}
    walk.n8n.edit_credential(credential, data)
    walk.n8n.test_credential(credential, data)


class Stopwatch:
    """Notes when each line of keyward's log is there to be read."""

    def __init__(self, keyward):
        self._keyward, self._seen, self._ended = keyward, {}, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def until_seen(self, lines):
        """Waits until it has noted those lines, too."""
        processes.until(lambda: all(line["id"] in self._seen for line in lines), timeout=20, what="the stopwatch")

    def delay(self, line):
        """How many seconds after the end of its exchange the line was there."""
        return self._seen[line["id"]] - datetime.fromisoformat(line["timestamp"]).timestamp() - line["ms"] / 1000

    def _look(self):
        while not self._ended.is_set():
            for line in self._keyward.exchanges():
                self._seen.setdefault(line["id"], time.time())
            time.sleep(0.02)
