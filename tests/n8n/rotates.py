"""`keyward rotate` with a real n8n: twenty workflows of three nodes, five of them called by others, three credential records, two
typed keys, and a draft that is not what runs; OpenAI's admin API makes the new key and deletes the old one.

Each step is a function of the scene and of `expect`; its docstring is the name of its check.  They rest on one another.
"""

import json
import time

import admin_api
import asked
import fleet
import keyward
import n8n
import openai
import processes
import workflows
from stage import TAGGED_PATH, keep, new_key, tagged
from walk import N8N, ROTATION, SCOPES, SCOPES_OF_CREDENTIALS

WRITES = ["workflow:update", "workflow:activate"]


class Scene:
    """A keyward that knows its n8n and OpenAI's admin API, with the fleet in three records that hold the old key."""

    def __init__(self, installed, binary, folder, cleanup):
        self.old = new_key()
        self.openai = openai.OpenAI([self.old])
        cleanup.callback(self.openai.stop)
        self.admin = admin_api.AdminApi(self.openai, self.old)
        cleanup.callback(self.admin.stop)
        self.n8n = n8n.N8n(installed, folder)
        cleanup.callback(lambda: self.n8n.stop())
        self.n8n.ready()
        scopes = [*SCOPES, *WRITES, *(SCOPES_OF_CREDENTIALS if self.major >= 2 else [])]
        for name, secret in {"n8n-api-key": self.n8n.make_key("keyward", scopes), "admin-key": admin_api.KEY}.items():
            keep(folder / name, secret)
        self.folder = folder / "rotates"
        self.folder.mkdir()
        account = f'project = "{admin_api.PROJECT}", service_account = "{admin_api.ACCOUNT}", url = "{self.admin.url}"'
        of_set = f"""
next = {{ file = "{self.folder}/next-key" }}
admin = {{ {account}, key = {{ file = "{folder}/admin-key" }}, scopes = ["api.responses.write", "api.model.read"] }}
"""
        settings = of_set + N8N.format(url=self.n8n.url, key=folder / "n8n-api-key") + ROTATION
        stranger = new_key()
        self.keyward = keyward.Keyward(binary, self.folder, self.openai.url, self.old, stranger, settings=settings)
        cleanup.callback(self.keyward.stop)
        self.records = [self.n8n.create_credential(name, self.tagged(self.old)) for name in ("One", "Two", "Three")]
        base = f"={self.keyward.url}{TAGGED_PATH}"
        self.fleet = fleet.Fleet(self.n8n, self.records[:2], base)
        setting = workflows.Setting(self.major, self.records[2], base, self.old)
        self.others = {
            "Agent": self.fleet.add("Agent", workflows.agent(setting)),
            "Typed 1": self.fleet.add("Typed 1", workflows.http_request_with_typed_key(setting)),
            "Typed 2": self.fleet.add("Typed 2", workflows.http_request_with_typed_key(setting)),
        }
        if self.major >= 2:
            self.others["Draft"] = self.fleet.add("Draft", workflows.vendor_message(setting))

    @property
    def major(self):
        return self.n8n.release.major

    @property
    def current(self):
        return (self.folder / "current-key").read_text().strip()

    def tagged(self, key):
        """What a credential holds that leads to keyward and tags its nodes."""
        return tagged(self.major, self.keyward, key)

    def rotate(self, *arguments):
        return self.keyward.run("rotate", "default", *arguments)

    def run_all(self):
        """Runs every workflow; gives what did not end well, by name."""
        failed = self.fleet.run()
        for name, made in self.others.items():
            status, answer = self.n8n.call(made.webhook)
            if status != 200:
                failed[name] = answer
        return failed

    def secrets(self):
        return [self.old, admin_api.KEY, *(key["value"] for key in self.admin.keys.values())]


def steps(major):
    """All steps with a release of n8n, in their order."""
    return [plans_and_names_what_stands_in_the_way, replaces_the_key_with_one_answer, tells_what_was_done]


def plans_and_names_what_stands_in_the_way(scene, expect):
    """a plan names both typed keys and the draft, and once these are mended nothing stands in the way"""
    expect.equal("what did not end well", scene.run_all(), {})
    if scene.major >= 2:
        scene.n8n.change(scene.others["Draft"].id, lambda node: {**node, "credentials": _of(scene.records[0])} if node.get("credentials") else node)

    def names_all():
        scene.plan = scene.rotate("--plan")
        wanted = ["typed_key", *(["draft_differs"] if scene.major >= 2 else [])]
        return all(code in scene.plan.stdout for code in wanted)

    processes.until(names_all, timeout=60, what="a plan that names what stands in the way", pause=0.5)
    expect.equal("the status of the plan", scene.plan.returncode, 1)
    done = scene.keyward.run("n8n", "reconnect", "--to", "Three", "--typed-keys", "--workflow", "Typed 1", "--workflow", "Typed 2", "--yes")
    expect.equal(f"the status of reconnect, which says {done.stdout}{done.stderr}", done.returncode, 0)
    if scene.major >= 2:
        scene.n8n.activate(scene.others["Draft"].id)
    expect.equal("what did not end well", scene.run_all(), {})

    def is_clear():
        scene.plan = scene.rotate("--plan")
        return scene.plan.returncode == 0

    try:
        processes.until(is_clear, timeout=60, what="a plan that nothing stands against", pause=0.5)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {scene.plan.stdout}{scene.plan.stderr}") from error
    expect.equal("the keys at OpenAI", list(scene.admin.keys), ["key_old"])


def replaces_the_key_with_one_answer(scene, expect):
    """one yes replaces the key in every record in a minute, and has the old key deleted once it can go"""
    report = scene.folder / "report.json"
    person = asked.Asked(scene.keyward, "rotate", "default", "--report", report)
    try:
        person.until_asked("Replace key", timeout=60)
        began = time.monotonic()
        person.answer("yes")
        if scene.major < 2:
            _by_hand(scene, person)
        processes.until(lambda: scene.current != scene.old, timeout=120, what="the switch", pause=0.05)
        seconds = time.monotonic() - began
        expect.equal("what did not end well", scene.run_all(), {})
        code = person.end(timeout=240)
    except Exception as error:
        raise RuntimeError(f"{error}: {person.text()}{scene.keyward.run('rotation').stdout}") from error
    expect.equal(f"the status, which says {person.text()}", code, 0)
    expect.true("the old key is gone", scene.old not in scene.openai.keys and len(scene.admin.keys) == 1)
    (made,) = scene.admin.keys.values()
    expect.equal("the current key", scene.current, made["value"])
    expect.true("nothing is left beside it", not list(scene.folder.glob("*.previous")) and not (scene.folder / "next-key").exists())
    scene.report = json.loads(report.read_text())
    steps = [event["at"] for event in scene.report["events"]]
    print(f"    {scene.n8n.release.version}: from the yes to the switch {seconds:.1f} s; the steps ended {steps}", flush=True)
    for secret in scene.secrets():
        expect.true("no key is shown", secret not in person.text() + json.dumps(scene.report))
    for path in scene.keyward.state.glob("*.json"):
        expect.true(f"no key is kept in {path.name}", not any(secret in path.read_text() for secret in scene.secrets()))
    expect.equal("who came to the admin API without its key", scene.admin.strangers, [])
    seen = [request for request in scene.openai.journal if f"Bearer {admin_api.KEY}" in request.values("authorization")]
    expect.equal("where else the admin key went", seen, [])
    expect.equal("what did not end well with the new key alone", scene.run_all(), {})


def _by_hand(scene, person):
    """n8n 1: a person puts the new key into each record, and says so."""
    for _ in scene.records:
        person.until_asked("Is it there, and saved?", timeout=60)
        person.said.clear()
        for record in scene.records:
            scene.n8n.edit_credential(record, scene.tagged((scene.folder / "next-key").read_text().strip()))
        person.answer("y")


def tells_what_was_done(scene, expect):
    """the report has every node with the moment it was confirmed or the reason why not, every record, and both keys by their ids"""
    expect.equal("the result", scene.report["result"], "done")
    expect.equal("the records", {record["name"] for record in scene.report["credentials"]}, {"One", "Two", "Three"})
    told = {consumer["who"]: consumer for consumer in scene.report["consumers"]}
    nodes = {(node.workflow, node.name) for node in scene.fleet.nodes} | {(name, workflows.NODE) for name in scene.others}
    for workflow, node in nodes:
        found = [consumer for who, consumer in told.items() if who.startswith(f"{workflow} (") and f"node {node} (" in who]
        # One that has not run yet is done as soon as its record holds the new key, which n8n says.
        states = [(consumer["state"], bool(consumer["confirmed"])) for consumer in found]
        expect.true(f"the state of {node} in {workflow}: {states}", states in ([("confirmed", True)], [("due later", False)]))
    expect.true("some were confirmed by a request", any(consumer["confirmed"] for consumer in scene.report["consumers"]))
    expect.equal("the old key", scene.report["old_key"]["id"], "key_old")
    expect.equal("the new key", scene.report["new_key"]["id"], next(iter(scene.admin.keys)))


def _of(record):
    return {"openAiApi": {"id": record.id, "name": record.name}}
