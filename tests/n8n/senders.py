"""Whether the old key can go, asked while senders of a real n8n still hold it: executions that wait,
Agents, Chat Hub and Instance AI.

Each step is a function of the scene and of `expect`; its docstring is the name of its check.  They rest on one another.
"""

import json
import urllib.request
from pathlib import Path

import keyward
import n8n
import openai
import processes
import workflows
from stage import TAG_HEADER, TAGGED_ORGANIZATION, TAGGED_PATH, keep, new_key
from walk import N8N

SCOPES = ["workflow:list", "workflow:read", "execution:list", "execution:read", "credential:list"]
# What a press of a record's test needs beside that.
SCOPE_OF_PRESSES = "credential:read"
ROTATION = """
[rotation]
quiet = "0s"
workers = 1
"""

# Each five seconds: the first field is that of the seconds.
EVERY = "*/5 * * * * *"


class Rotation:
    """A keyward of its own between an n8n and a fake OpenAI, in which one key takes the place of another."""

    def __init__(self, binary, folder, of, scopes, cleanup, settings=""):
        self.old, self.new = new_key(), new_key()
        self.openai = openai.OpenAI([self.old, self.new])
        cleanup.callback(self.openai.stop)
        folder.mkdir()
        self._folder, self._n8n = folder, of
        self._api_key = folder / "n8n-api-key"
        self.give_scopes(scopes)
        settings = N8N.format(url=of.url, key=self._api_key) + settings + ROTATION
        # It starts with the old key as the only one; no other was ever replaced.
        self.keyward = keyward.Keyward(binary, folder, self.openai.url, self.old, self.old, settings=settings)
        cleanup.callback(self.keyward.stop)

    def give_scopes(self, scopes):
        """Has keyward ask n8n with a key that may do no more, which makes it look again at once."""
        draft = self._folder / "n8n-api-key-draft"
        keep(draft, self._n8n.make_key(f"{self._folder.name} {len(scopes)}", scopes))
        draft.rename(self._api_key)

    def tagged(self, key, url=None):
        """What a record holds that leads to keyward and tags its nodes."""
        return {"apiKey": key, "url": url or f"{self.keyward.url}/v1", **TAG_HEADER}

    def tagged_by_path(self, key):
        """The same with tags that also what is no node sends on."""
        return self.tagged(key, f"={self.keyward.url}{TAGGED_PATH}") | {"header": False, "organizationId": TAGGED_ORGANIZATION}

    def workflow(self, draft, record):
        """A workflow whose node uses that record."""
        return self._n8n.import_workflow(draft(workflows.Setting(self._n8n.release.major, record, "", "")))

    def sent(self, lines=1):
        """The key of each new exchange: old or new, and whichever else."""
        names = {self.old[-4:]: "old", self.new[-4:]: "new"}
        return [names.get((line.get("hint") or "")[-4:], line.get("hint")) for line in self.keyward.news(lines)]

    def ask(self, path):
        """One call of keyward's admin API."""
        token = (self.keyward.state / "admin.token").read_text().strip()
        request = urllib.request.Request(f"http://{self.keyward.admin}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.load(answer)

    def until_held(self, record, key):
        """Waits until keyward has looked through n8n, and its press of that record's test showed the key."""

        def holds():
            records = [one for instance in self.ask("/api/v1/n8n")["instances"] for one in instance["credentials"]]
            hints = [(one["pressed"] or {}).get("hint") for one in records if one["id"] == record.id]
            return [hint[-4:] for hint in hints if hint] == [key[-4:]]

        processes.until(holds, timeout=100, what=f"a press of the test of {record.name}", pause=0.2)

    def can_go(self):
        """What keyward says to whether the old key can go."""
        keys = self.ask("/api/v1/sets/default/rotation")["old_keys"]
        return next(key["can_go"] for key in keys if key["hint"][-4:] == self.old[-4:])

    def until(self, what, condition):
        """Waits until an answer is so, and gives it. Keyward presses the test of a record once a minute at most."""
        last = {}

        def holds():
            last.update(self.can_go())
            return condition(last) and last

        try:
            return processes.until(holds, timeout=100, what=what, pause=0.5)
        except TimeoutError as late:
            raise TimeoutError(f"{late}; the answer is {json.dumps(last)[:3000]}") from None

    def status(self):
        """What `keyward rotation --can-go` ends with."""
        return self.keyward.run("rotation", "default", "--can-go").returncode


def bars(answer, code=None):
    """All that bars the old key from going, or what does so for one reason."""
    found = [*answer["reasons"], *answer["doubts"]]
    return [bar for bar in found if code in (None, bar["code"])]


def codes(answer):
    """Why it cannot go, in keyward's stable words."""
    return sorted({bar["code"] for bar in bars(answer)})


class Scene:
    """An n8n, and a rotation of its own for each part.  What it starts is registered with `cleanup`."""

    def __init__(self, installed, binary, folder, cleanup):
        self._binary, self._folder, self._cleanup = binary, folder, cleanup
        options = f"--max-old-space-size=4096 --require={Path(__file__).with_name('loopback.cjs')}"
        self.n8n = n8n.N8n(installed, folder, {"N8N_ENABLED_MODULES": "chat-hub", "NODE_OPTIONS": options})
        cleanup.callback(lambda: self.n8n.stop())
        self.n8n.ready()

    @property
    def major(self):
        return self.n8n.release.major

    def rotation(self, name, scopes):
        return Rotation(self._binary, self._folder / name, self.n8n, scopes, self._cleanup)

    def clear(self, rotation):
        """Ends a part: the keyward of the next one has the n8n for itself, without workflows or records."""
        # It would press the tests of the next one's records, too, and that would take it for a person.
        rotation.keyward.stop()
        for workflow in self.n8n.api("GET", "/workflows?limit=250")["data"]:
            self.n8n.remove(workflow["id"])
        for record in self.n8n.records():
            self.n8n.delete_credential(record)


def steps(major):
    """The steps for that release; the API of n8n 1 lists neither records nor executions that wait."""
    if major < 2:
        return []
    return [
        names_the_executions_that_wait,
        names_the_record_that_they_hold,
        says_yes_once_the_other_record_is_gone,
        names_the_agents_that_keep_the_old_key,
        says_yes_once_the_agent_is_saved,
        names_the_chats_that_sent_the_old_key,
        names_instance_ai_that_sent_the_old_key,
    ]


# === Executions that wait ===


def names_the_executions_that_wait(scene, expect):
    """two executions wait with records of the old key while their nodes got another one: not proven, and both are named"""
    scene.waits = rotation = scene.rotation("waits", SCOPES)
    scene.mended, scene.deleted = (scene.n8n.create_credential(name, rotation.tagged(rotation.old)) for name in ("Mended", "Deleted"))
    scene.workflows = [rotation.workflow(workflows.waiting, record) for record in (scene.mended, scene.deleted)]
    for workflow in scene.workflows:
        expect.equal("the end of a run", scene.n8n.resume(*scene.n8n.start(workflow)).execution["status"], "success")
    expect.equal("the keys before the rotation", rotation.sent(2), ["old", "old"])
    scene.waiting = [scene.n8n.start(workflow) for workflow in scene.workflows]
    rotation.keyward.rotate(rotation.new)
    fresh = scene.n8n.create_credential("Fresh", rotation.tagged(rotation.new))
    for workflow in scene.workflows:
        scene.n8n.save(workflow, fresh)
        scene.n8n.activate(workflow.id)
        expect.equal("the end of a run", scene.n8n.resume(*scene.n8n.start(workflow)).execution["status"], "success")
    expect.equal("the keys after it", rotation.sent(2), ["new", "new"])
    answer = rotation.until("both", lambda answer: len(bars(answer, "waiting")) == 2 and "unsettled" not in codes(answer))
    expect.equal(f"the answer {answer}", answer["answer"], "not_seen")
    expect.equal("what --can-go ends with", rotation.status(), 3)
    named = " ".join(bar["text"] for bar in bars(answer, "waiting"))
    for (number, _), workflow in zip(scene.waiting, scene.workflows):
        expect.true(f"{named!r} names execution {number}", f"execution {number} of workflow {workflow.id} waits" in named)
    expect.true("each can be accepted and has an end", all(bar["doubt"] and bar["end"] for bar in bars(answer, "waiting")))


def names_the_record_that_they_hold(scene, expect):
    """one of their records gets the new key, and keyward may press n8n's test: no, for the other record and its execution"""
    scene.n8n.edit_credential(scene.mended, scene.waits.tagged(scene.waits.new))
    scene.waits.give_scopes([*SCOPES, SCOPE_OF_PRESSES])
    answer = scene.waits.until("that record", lambda answer: codes(answer) == ["record_holds_it", "waiting"])
    expect.equal("the answer", answer["answer"], "no")
    expect.equal("what --can-go ends with", scene.waits.status(), 1)
    texts = [bar["text"] for bar in bars(answer)]
    expect.equal("how much it names", len(texts), 2)
    expect.true(f"{texts} name {scene.deleted.name}", texts[0].startswith(f"credential {scene.deleted.name}") and " holds it: " in texts[0])
    number = scene.waiting[1][0]
    expect.true(f"{texts} name execution {number}", f"execution {number} of workflow {scene.workflows[1].id} waits" in texts[1])


def says_yes_once_the_other_record_is_gone(scene, expect):
    """the other record is deleted: both executions still wait, but neither holds the old key, and it can go"""
    scene.n8n.delete_credential(scene.deleted)
    scene.waits.until("a yes", lambda answer: answer["answer"] == "yes")
    expect.equal("what --can-go ends with", scene.waits.status(), 0)
    for number, _ in scene.waiting:
        expect.equal(f"what execution {number} does", scene.n8n.execution(number)["status"], "waiting")
    ends = [scene.n8n.resume(*one).execution["status"] for one in scene.waiting]
    expect.equal("how they end", ends, ["success", "error"])
    expect.equal("the keys that they send", scene.waits.sent(1), ["new"])
    scene.waits.until("a yes", lambda answer: answer["answer"] == "yes")
    scene.clear(scene.waits)


# === Agents ===


def names_the_agents_that_keep_the_old_key(scene, expect):
    """an Agent on a schedule goes on with the old key though its credential was edited: no, and n8n's Agents are named"""
    scene.agents = rotation = scene.rotation("agents", [*SCOPES, SCOPE_OF_PRESSES])
    scene.record = scene.n8n.create_credential("Of an Agent", rotation.tagged_by_path(rotation.old))
    scene.agent = scene.n8n.create_agent(scene.record, EVERY)
    expect.equal("the Agent's key before the rotation", set(rotation.sent(1)), {"old"})
    rotation.keyward.rotate(rotation.new)
    scene.n8n.edit_credential(scene.record, rotation.tagged_by_path(rotation.new))
    rotation.sent(0)
    rotation.until_held(scene.record, rotation.new)
    rotation.sent(0)
    expect.equal("the Agent's key once n8n's test shows the new one", set(rotation.sent(1)), {"old"})
    answer = rotation.until("the Agents", lambda answer: bars(answer, "still_sent"))
    expect.equal("the answer", answer["answer"], "no")
    expect.equal("what --can-go ends with", rotation.status(), 1)
    text, remedy = bars(answer, "still_sent")[0]["text"], rotation.keyward.exchanges()[-1]["remedy"]
    expect.true(f"{text!r} names n8n's Agents", "n8n's Agents" in text)
    expect.true(f"the remedy {remedy!r} is that", "Save or publish the agent" in remedy)


def says_yes_once_the_agent_is_saved(scene, expect):
    """the Agent is saved as it is, and once it has run with the new key the old one can go"""
    scene.n8n.save_agent(scene.agent)
    answer = scene.agents.until("a yes", lambda answer: answer["answer"] == "yes")
    expect.equal("how many senders carried it", answer["basis"]["senders"], 1)
    expect.equal("what --can-go ends with", scene.agents.status(), 0)
    expect.equal("the Agent's last key", scene.agents.sent(1)[-1], "new")
    scene.n8n.delete_agent(scene.agent)
    scene.clear(scene.agents)


# === Chat Hub and Instance AI ===


def names_the_chats_that_sent_the_old_key(scene, expect):
    """chats of Chat Hub send the old key, and their record is edited: no for n8n's chats, until one sent the new key"""
    rotation = scene.rotation("chats", [*SCOPES, SCOPE_OF_PRESSES])
    tag = TAG_HEADER | {"headerValue": TAG_HEADER["headerValue"] + ";name={{ encodeURIComponent($workflow.name) }}"}
    record = scene.n8n.create_credential("Of chats", rotation.tagged(rotation.old) | tag)
    scene.n8n.allow_chats()
    # The answer and, in a new chat, its title.
    expect.equal("the keys of a chat before the rotation", _chat(scene, rotation, record), ["old", "old"])
    rotation.keyward.rotate(rotation.new)
    expect.equal("the keys of another after it", _chat(scene, rotation, record), ["old", "old"])
    scene.n8n.edit_credential(record, rotation.tagged(rotation.new) | tag)
    rotation.until_held(record, rotation.new)
    answer = rotation.until("the chats", lambda answer: _of(answer, "n8n's chats") and "unsettled" not in codes(answer))
    expect.equal("the answer", answer["answer"], "no")
    expect.equal("why the chats bar it", [bar["code"] for bar in _of(answer, "n8n's chats")], ["still_sent"])
    expect.equal("what --can-go ends with", rotation.status(), 1)
    chats = [row for row in rotation.ask("/api/v1/bindings")["bindings"] if row["holder"] == "agent"]
    expect.equal("how often each of their bindings sent", [row["sightings"] for row in chats], [4])
    expect.equal("the keys of a third", _chat(scene, rotation, record), ["new", "new"])
    answer = rotation.until("an end of that", lambda answer: not _of(answer, "n8n's chats"))
    left = [bar for bar in bars(answer) if "n8n's chats come so" not in bar["text"]]
    expect.equal("what else bars it", left, [])
    scene.clear(rotation)


def _chat(scene, rotation, record):
    """The keys that a new chat sends."""
    scene.n8n.chat(record)
    return rotation.sent(2)


def _of(answer, who):
    """What bars it that begins with those words."""
    return [bar for bar in bars(answer) if bar["text"].startswith(who)]


def names_instance_ai_that_sent_the_old_key(scene, expect):
    """Instance AI sends the old key, and its connection is edited: no, until it sent the new key"""
    rotation = scene.rotation("instance-ai", [*SCOPES, SCOPE_OF_PRESSES])
    scene.n8n.connect_instance_ai(rotation.tagged(rotation.old))
    expect.equal("its key before the rotation", _ask(scene, rotation), ["old"])
    rotation.keyward.rotate(rotation.new)
    expect.equal("its key after it", _ask(scene, rotation), ["old"])
    scene.n8n.connect_instance_ai(rotation.tagged(rotation.new))
    answer = rotation.until("it", lambda answer: codes(answer) == ["no_good_use", "still_sent"])
    expect.equal("the answer", answer["answer"], "no")
    expect.equal("how many bear that name", len(_of(answer, "n8n's Instance AI")), 1)
    expect.equal("what --can-go ends with", rotation.status(), 1)
    expect.equal("its key from its edited connection", _ask(scene, rotation), ["new"])
    answer = rotation.until("a yes", lambda answer: answer["answer"] == "yes")
    assumed = "Agents, Instance AI and Chat Hub are known by their traffic alone"
    expect.true(f"{answer['basis']['assumes']} say that", assumed in answer["basis"]["assumes"])


def _ask(scene, rotation):
    """The keys that a question to Instance AI sends."""
    scene.n8n.ask_instance_ai()
    return rotation.sent(1)
