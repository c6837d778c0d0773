"""What keyward learns from n8n's API beside the workflows: which key each record holds, by n8n's own test, and what waits or runs.

Each step is a function of the scene and of `expect`; its docstring is the name of its check.  They rest on one another.
"""

import json
import threading
import urllib.request

import keyward
import n8n
import openai
import processes
import workflows
from stage import keep, new_key, tagged
from walk import N8N

# What an API key has by default, and what a press of a test needs beside that; n8n 1 knows fewer, and looks at none.
SCOPES = ["workflow:list", "workflow:read", "execution:list", "execution:read"]
SCOPES_OF_CREDENTIALS = ["credential:list", "credential:read"]


class Scene:
    """A keyward that knows its n8n, in which one record holds the new key and one the old.  What it starts is registered with `cleanup`."""

    def __init__(self, installed, binary, folder, cleanup):
        self.old, self.new = new_key(), new_key()
        self.openai = openai.OpenAI([self.new])
        cleanup.callback(self.openai.stop)
        self.n8n = n8n.N8n(installed, folder)
        cleanup.callback(lambda: self.n8n.stop())
        self.n8n.ready()
        scopes = SCOPES + (SCOPES_OF_CREDENTIALS if self.major >= 2 else [])
        self._keys, self._folder = [self.n8n.make_key("keyward", scopes)], folder
        if self.major >= 2:
            self._keys.append(self.n8n.make_key("lacking", ["workflow:list", "credential:list"]))
        own = folder / "presses"
        own.mkdir()
        self.key = folder / "n8n-api-key"
        self.give_key(0)
        settings = N8N.format(url=self.n8n.url, key=self.key)
        self.keyward = keyward.Keyward(binary, own, self.openai.url, self.new, self.old, settings=settings)
        cleanup.callback(self.keyward.stop)
        self.mended = self.n8n.create_credential("Mended", self.tagged(self.new))
        self.forgotten = self.n8n.create_credential("Forgotten", self.tagged(self.old))
        self.plain = self.n8n.create_credential("Plain", {"apiKey": self.old, "url": f"{self.keyward.url}/v1"})

    @property
    def major(self):
        return self.n8n.release.major

    def tagged(self, key):
        """What a record holds that leads to keyward and tags its nodes."""
        return tagged(self.major, self.keyward, key)

    def give_key(self, number):
        """Has keyward ask n8n with one of the API keys, which makes it look again at once."""
        draft = self._folder / "n8n-api-key-draft"
        keep(draft, self._keys[number])
        draft.rename(self.key)

    def ask(self, path):
        """One call of keyward's admin API."""
        token = (self.keyward.state / "admin.token").read_text().strip()
        request = urllib.request.Request(f"http://{self.keyward.admin}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.load(answer)

    def told(self):
        """What keyward knows of its n8n, or nothing before it has looked."""
        instances = self.ask("/api/v1/n8n")["instances"]
        return instances[0] if instances else {"credentials": [], "unfinished": []}

    def held(self):
        """The end of the key that each record was found to hold, by the record's name."""
        pressed = {record["name"]: record["pressed"] for record in self.told()["credentials"]}
        return {name: (press or {}).get("hint") and press["hint"][-4:] for name, press in pressed.items()}

    def until(self, what, condition):
        """Keyward looks every ten seconds, and presses the test of a record once a minute at most."""
        return processes.until(condition, timeout=100, what=what)

    def workflow(self, draft, credential):
        setting = workflows.Setting(self.major, credential, f"{self.keyward.url}/v1", self.new)
        return self.n8n.import_workflow(draft(setting))

    def unfinished(self, execution):
        """What keyward knows of an execution that goes on."""
        return next((one for one in self.told()["unfinished"] if one["execution_id"] == str(execution)), None)


def steps(major):
    """The steps for that release."""
    if major < 2:
        return [goes_on_with_an_old_release]
    return [
        finds_the_old_key_in_the_forgotten_record,
        counts_no_press_as_a_use,
        finds_the_new_key_once_the_record_is_mended,
        lists_a_waiting_execution_with_the_record_of_its_snapshot,
        lists_a_running_execution,
        goes_on_without_scopes,
    ]


def finds_the_old_key_in_the_forgotten_record(scene, expect):
    """a press of n8n's test tells which record holds the old key, tagged or not"""
    wanted = {"Mended": scene.new[-4:], "Forgotten": scene.old[-4:], "Plain": scene.old[-4:]}
    scene.until("the keys of the records", lambda: scene.held() == wanted)
    ids = {record.id: name for name, record in {"Mended": scene.mended, "Forgotten": scene.forgotten}.items()}
    presses = [line for line in scene.keyward.presses() if line["pressed"] in ids]
    for line in presses:
        good = ids[line["pressed"]] == "Mended"
        expect.equal("the verdict of a press", line["verdict"], "current" if good else "outdated")
        expect.equal("its status", line["status"], 200 if good else 401)
        expect.equal("its path", line["path"], "/v1/models")
        expect.equal("its client", line["client"], "legacy")
    counts = {name: sum(line["pressed"] == id for line in presses) for id, name in ids.items()}
    # Each record is pressed twice, and n8n asks twice on a 401.
    expect.equal("the requests of each record's press", counts, {"Mended": 2, "Forgotten": 4})


def counts_no_press_as_a_use(scene, expect):
    """keyward's own presses are no use of a key"""
    expect.equal("the exchanges that are no presses", scene.keyward.exchanges(), [])
    expect.equal("the bindings", scene.ask("/api/v1/bindings")["bindings"], [])
    expect.equal("the incidents", scene.ask("/api/v1/incidents")["incidents"], [])
    # The same test, pressed by a person, is one.
    scene.n8n.test_credential(scene.forgotten, scene.tagged(scene.old))
    lines = scene.keyward.news(2)
    expect.equal("the verdicts of a person's test", [line["verdict"] for line in lines], ["outdated"] * 2)
    expect.equal("who used the old key", [row["holder"] for row in scene.ask("/api/v1/bindings")["bindings"]], ["editor"])


def finds_the_new_key_once_the_record_is_mended(scene, expect):
    """a record is pressed again after it was changed, and alone"""
    known = len(scene.keyward.presses())
    scene.n8n.edit_credential(scene.forgotten, scene.tagged(scene.new))
    scene.until("the new key", lambda: scene.held()["Forgotten"] == scene.new[-4:])
    pressed = {line["pressed"] for line in scene.keyward.presses()[known:]}
    expect.equal("the records that were pressed", pressed, {scene.forgotten.id})


def lists_a_waiting_execution_with_the_record_of_its_snapshot(scene, expect):
    """a waiting execution is known with the record that its snapshot names, until it ends"""
    workflow = scene.workflow(workflows.waiting, scene.mended)
    number, path = scene.n8n.start(workflow)
    scene.n8n.save(workflow, scene.forgotten)
    scene.n8n.activate(workflow.id)
    found = scene.until("the waiting execution", lambda: scene.unfinished(number))
    expect.equal("whether it waits", found["waits"], True)
    expect.equal("its workflow", found["workflow_id"], workflow.id)
    expect.equal("the record of its snapshot", found["records"], [scene.mended.id])
    run = scene.n8n.resume(number, path)
    expect.equal("its end", run.execution["status"], "success")
    scene.until("the end of the waiting", lambda: scene.unfinished(number) is None)
    expect.equal("what it sent", [line["execution_id"] for line in scene.keyward.news(1)], [str(number)])


def lists_a_running_execution(scene, expect):
    """a running execution is known with the record of its snapshot, also one that n8n will not save"""
    held = threading.Event()
    scene.openai.interfere = lambda received: None if received.method == "GET" else held.wait(60) and None
    draft = workflows.legacy_chat(workflows.Setting(scene.major, scene.mended, f"{scene.keyward.url}/v1", scene.new))
    draft.definition["settings"] |= {"saveDataSuccessExecution": "none", "saveDataErrorExecution": "none"}
    workflow = scene.n8n.import_workflow(draft)
    call = threading.Thread(target=lambda: scene.n8n.call(workflow.webhook))
    call.start()
    try:
        running = lambda: [one for one in scene.told()["unfinished"] if one["workflow_id"] == workflow.id]
        found = scene.until("the running execution", running)[0]
        expect.equal("whether it waits", found["waits"], False)
        expect.equal("the record of its snapshot", found["records"], [scene.mended.id])
    finally:
        held.set()
        scene.openai.interfere = None
        call.join()
    scene.until("the end of the run", lambda: not running())
    scene.keyward.news(1)


def goes_on_without_scopes(scene, expect):
    """without the scopes it goes on, and says once what it is not told"""
    scene.give_key(1)
    lacks = scene.until("what is missing", lambda: "execution:list" in (scene.ask("/api/v1/status")["n8n"][0]["lacks"] or "") and scene.ask("/api/v1/status"))
    status = lacks["n8n"][0]
    expect.equal("the state of n8n", status["state"], "ok")
    expect.equal("how often the scope is named", status["lacks"].count("execution:list"), 1)
    # Nothing is due, so the missing credential:read is met with the next change alone.
    scene.n8n.edit_credential(scene.plain, {"apiKey": scene.new, "url": f"{scene.keyward.url}/v1"})
    scene.until("the other scope", lambda: "credential:read" in (scene.ask("/api/v1/status")["n8n"][0]["lacks"] or ""))
    expect.equal("what is known of the changed record", scene.held()["Plain"], None)


def goes_on_with_an_old_release(scene, expect):
    """an n8n that lists no records and no running executions is gone on with, and that is said"""
    status = scene.until("a look", lambda: next((one for one in scene.ask("/api/v1/status")["n8n"] if one["state"] == "ok"), None))
    expect.true(f"it says what n8n does not tell: {status['lacks']}", "does not list the executions that run or wait" in (status["lacks"] or ""))
    workflow = scene.workflow(workflows.legacy_chat, scene.mended)
    run = scene.n8n.run(workflow)
    expect.equal("the end of a run", run.execution["status"], "success")
    scene.keyward.news(1)
    told = scene.told()
    expect.equal("the records", told["credentials"], [])
    expect.equal("what runs or waits", told["unfinished"], [])
    expect.equal("the presses", scene.keyward.presses(), [])
