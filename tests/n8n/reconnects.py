"""Nodes are reconnected to another credential, in a real n8n: twenty workflows of three nodes, five of them called by others, with
one of everything beside them that stands in the way; and all of it is taken back.

Each step is a function of the scene and of `expect`; its docstring is the name of its check.  They rest on one another.
"""

import time

import asked
import fleet
import keyward
import n8n
import openai
import workflows
from stage import TAGGED_PATH, keep, new_key, tagged
from walk import N8N

SCOPES = ["workflow:list", "workflow:read", "workflow:update"]
ACTIVATE, CREDENTIALS = "workflow:activate", "credential:list"
# What n8n fills in when it saves.
OWN = ("webhookId",)


class Scene:
    """A keyward that knows its n8n, the fleet with two records that hold the old key, and a third record that holds the new one."""

    def __init__(self, installed, binary, folder, cleanup):
        self.old, self.new = new_key(), new_key()
        self.openai = openai.OpenAI([self.old, self.new])
        cleanup.callback(self.openai.stop)
        self.n8n = n8n.N8n(installed, folder)
        cleanup.callback(lambda: self.n8n.stop())
        self.n8n.ready()
        more = [CREDENTIALS] if self.major >= 2 else []
        self.keys = {"lacking": self.n8n.make_key("lacking", SCOPES + more)} if self.major >= 2 else {}
        self.keys["whole"] = self.n8n.make_key("whole", [*SCOPES, ACTIVATE, *more])
        self._key = folder / "n8n-api-key"
        self.give("whole")
        own = folder / "reconnects"
        own.mkdir()
        settings = N8N.format(url=self.n8n.url, key=self._key) + "press = false\n"
        self.keyward = keyward.Keyward(binary, own, self.openai.url, self.new, self.old, settings=settings)
        cleanup.callback(self.keyward.stop)
        self.records = [self.n8n.create_credential(name, self.tagged(self.old)) for name in ("Old", "Old, a copy")]
        self.target = self.n8n.create_credential("New", self.tagged(self.new))
        base = f"={self.keyward.url}{TAGGED_PATH}"
        self.fleet = fleet.Fleet(self.n8n, self.records, base)
        self._stand_in_the_way(base)
        self.before = self.documents()

    @property
    def major(self):
        return self.n8n.release.major

    def give(self, name):
        """Has keyward ask n8n with that API key."""
        keep(self._key, self.keys[name])

    def tagged(self, key):
        """What a credential holds that leads to keyward and tags its nodes."""
        return tagged(self.major, self.keyward, key)

    def _stand_in_the_way(self, base):
        """One of everything, by name."""

        def setting(credential=None):
            return workflows.Setting(self.major, credential or self.records[0], base, self.old)

        self.made = {
            "Typed 1": self.fleet.add("Typed 1", workflows.http_request_with_typed_key(setting())),
            "Typed 2": self.fleet.add("Typed 2", workflows.http_request_with_typed_key(setting())),
            "Off": self.fleet.add("Off", workflows.vendor_message(setting())),
            "Edited": self.fleet.add("Edited", workflows.vendor_message(setting())),
            # The API of n8n 1 knows no record that no node uses.
            "There": self.fleet.add("There", workflows.vendor_message(setting(self.target))),
        }
        self.n8n.deactivate(self.made["Off"].id)
        if self.major >= 2:
            self.made["Draft"] = self.fleet.add("Draft", workflows.vendor_message(setting()))
            self.n8n.change(self.made["Draft"].id, _with_option)
            self.made["Archived"] = self.fleet.add("Archived", workflows.vendor_message(setting()))
            self.n8n.api("POST", f"/workflows/{self.made['Archived'].id}/archive")

    def documents(self):
        """Every workflow by its name, as n8n's API gives it."""
        listed = self.n8n.api("GET", "/workflows?limit=250")["data"]
        return {workflow["name"]: self.n8n.api("GET", f"/workflows/{workflow['id']}") for workflow in listed}

    def reconnect(self, *arguments):
        return self.keyward.run("n8n", "reconnect", "--to", "New", *arguments)

    def reconnect_asked(self, *arguments, meanwhile):
        """The same at a terminal, where a person says yes; `meanwhile` happens before that.  Gives what is printed and the seconds."""
        question = asked.Asked(self.keyward, "n8n", "reconnect", "--to", "New", *arguments)
        question.until_asked("Change that?", timeout=60)
        meanwhile()
        began = time.monotonic()
        question.answer("y")
        code = question.end(timeout=120)
        return code, question.text(), time.monotonic() - began


def steps(major):
    """All steps with a release of n8n, in their order."""
    both = [reconnects_everything_at_one_yes, sends_the_new_key_alone, takes_all_of_it_back]
    return [tells_of_a_missing_scope, *both, takes_drafts_along] if major >= 2 else both


def tells_of_a_missing_scope(scene, expect):
    """an API key that may not publish is told before anything is written"""
    scene.give("lacking")
    done = scene.reconnect("--yes")
    expect.equal("the status", done.returncode, 1)
    expect.true(f"the scope is named: {done.stderr}", ACTIVATE in done.stderr)
    expect.equal("what was changed", _differing(scene.before, scene.documents()), [])
    scene.give("whole")


def reconnects_everything_at_one_yes(scene, expect):
    """one command and one yes reconnect every node in a minute, but for the named exceptions, and a workflow edited in between is left alone"""
    scene.edited = None

    def edit():
        scene.n8n.change(scene.made["Edited"].id, _with_option)
        scene.edited = scene.documents()["Edited"]

    arguments = ("--from", "Old", "--from", "Old, a copy", "--typed-keys")
    code, told, seconds = scene.reconnect_asked(*arguments, meanwhile=edit)
    expect.equal(f"the status, which says {told}", code, 1)
    expect.true(f"it took {seconds:.1f} s", seconds < 60)
    print(f"    {scene.n8n.release.version}: reconnected {told.count('reconnected  ')} workflows in {seconds:.1f} s", flush=True)
    for secret in (scene.old, scene.new, *scene.keys.values()):
        expect.true("no key is shown", secret not in told)
    now = scene.documents()
    expect.equal("what was edited", now["Edited"], scene.edited)
    expect.true(f"it says so: {told}", "changed since  Edited" in told)
    names = {"Draft", "Archived"} if scene.major >= 2 else set()
    for name in names:
        expect.equal(name, now[name], scene.before[name])
        expect.true(f"{name} is named: {told}", f"  {name} (" in told)
    for name in now.keys() - names - {"Edited"}:
        _expect_reconnected(scene, expect, name, now[name])
    for text in scene.keyward.state.glob("reconnect-*"):
        expect.true("no key is kept", not any(key in text.read_text() for key in (scene.old, scene.new, *scene.keys.values())))


def _expect_reconnected(scene, expect, name, now):
    """Nothing but the credential of its nodes is another one, and it runs as before."""
    before = scene.before[name]
    for part in ("name", "connections", "settings", "active", "triggerCount", "staticData", "pinData"):
        expect.equal(f"{part} of {name}", now.get(part), before.get(part))
    versions = [(now["nodes"], before["nodes"])]
    if scene.major >= 2 and before["activeVersionId"]:
        expect.equal(f"the version that runs of {name}", now["activeVersionId"], now["versionId"])
        versions.append((now["activeVersion"]["nodes"], before["activeVersion"]["nodes"]))
    for nodes, were in versions:
        for node, was in zip(nodes, were, strict=True):
            record = node.get("credentials", {}).get("openAiApi", {})
            if was.get("credentials") or "headerParameters" in was["parameters"]:
                expect.equal(f"the record of {node['name']} in {name}", record.get("id"), scene.target.id)
            if not name.startswith("Typed"):
                expect.equal(f"what else is in {node['name']} of {name}", _plain(node), _plain(was))


def sends_the_new_key_alone(scene, expect):
    """what was reconnected runs as before, and sends the new key alone"""
    if scene.major >= 2:
        # What was edited is a draft until it is published.
        scene.n8n.activate(scene.made["Edited"].id)
    code = scene.reconnect("--workflow", "Edited", "--yes").returncode
    expect.equal("the status for the edited workflow", code, 0)
    known = len(scene.openai.journal)
    expect.equal("what did not end well", scene.fleet.run(), {})
    for name in ("Typed 1", "Typed 2", "Edited"):
        status, answer = scene.n8n.call(scene.made[name].webhook)
        expect.equal(f"the status of {name}, which answers {answer}", status, 200)
    bearers = {key for request in scene.openai.journal[known:] for key in request.values("authorization")}
    expect.equal("the keys that came to OpenAI", bearers, {f"Bearer {scene.new}"})


def takes_all_of_it_back(scene, expect):
    """undo puts everything back but what was edited since, which it names"""
    edited = next(name for name in scene.fleet.workflows if name.startswith("Called"))
    scene.n8n.change(scene.fleet.workflows[edited].id, _with_option)
    kept = scene.documents()[edited]
    first = scene.keyward.run("n8n", "undo", "--yes")
    expect.equal(f"the status of the first undo, which says {first.stdout}{first.stderr}", first.returncode, 0)
    second = scene.keyward.run("n8n", "undo", "--yes")
    expect.equal(f"the status of the second undo, which says {second.stdout}{second.stderr}", second.returncode, 1)
    expect.true(f"it names what was edited: {second.stdout}", f"changed since  {edited}" in second.stdout)
    now = scene.documents()
    expect.equal("what was edited", now[edited], kept)
    left = {edited, "Edited"} | ({"Typed 1", "Typed 2"} if scene.major < 2 else set())
    expect.equal("what is not as it was", [name for name in _differing(scene.before, now) if name not in left], [])
    if scene.major < 2:
        expect.true(f"a typed key is not kept: {second.stdout}", "Typed 1" in second.stdout)
    known = len(scene.openai.journal)
    expect.equal("what does not run", scene.fleet.run(), {})
    bearers = {key for request in scene.openai.journal[known:] for key in request.values("authorization")}
    expect.true("the old key is sent again", f"Bearer {scene.old}" in bearers)


def takes_drafts_along(scene, expect):
    """a draft that differs and what is published are each changed as itself, and each comes back"""
    before = scene.documents()["Draft"]
    done = scene.reconnect("--workflow", "Draft", "--drafts", "--yes")
    expect.equal(f"the status, which says {done.stdout}{done.stderr}", done.returncode, 0)
    now = scene.documents()["Draft"]
    for nodes, were in ((now["nodes"], before["nodes"]), (now["activeVersion"]["nodes"], before["activeVersion"]["nodes"])):
        expect.equal("what else is in it", [_plain(node) for node in nodes], [_plain(node) for node in were])
        records = {node["credentials"]["openAiApi"]["id"] for node in nodes if node.get("credentials")}
        expect.equal("its records", records, {scene.target.id})
    known = len(scene.openai.journal)
    expect.equal("the status of its run", scene.n8n.call(scene.made["Draft"].webhook)[0], 200)
    bearers = {key for request in scene.openai.journal[known:] for key in request.values("authorization")}
    expect.equal("the keys that came to OpenAI", bearers, {f"Bearer {scene.new}"})
    done = scene.keyward.run("n8n", "undo", "--yes")
    expect.equal(f"the status of undo, which says {done.stdout}{done.stderr}", done.returncode, 0)
    expect.equal("what is not as it was", _differing({"Draft": before}, scene.documents()), [])


def _with_option(node):
    """The node that asks OpenAI with something more in it, as a person might save it."""
    if not node.get("credentials"):
        return node
    return {**node, "notes": "edited"}


def _plain(node):
    """A node without its credential and what n8n fills in."""
    return {name: value for name, value in node.items() if name not in ("credentials", *OWN)}


def _differing(before, now):
    """The names of the workflows that are not as they were."""

    def content(workflow):
        versions = [workflow, workflow.get("activeVersion") or {}]
        nodes = [[{**_plain(node), "credentials": node.get("credentials")} for node in one.get("nodes", [])] for one in versions]
        connections = [one.get("connections") for one in versions]
        return nodes, connections, workflow["settings"], workflow["name"], workflow["active"]

    return sorted(name for name, workflow in before.items() if content(workflow) != content(now[name]))
