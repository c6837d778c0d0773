"""Groups of nodes get a key set, a token and a credential of their own, in a real n8n: two of twenty
workflows are parted from the rest.

Each step is a function of the scene and of `expect`; its docstring is the name of its check.  They rest on one another.
"""

import fleet
import keyward
import n8n
import openai
from stage import TAGGED_PATH, keep, new_key, tagged
from walk import N8N

SCOPES = ["workflow:list", "workflow:read", "workflow:update", "workflow:activate"]
OF_CREDENTIALS = ["credential:list", "credential:read"]
CREATE = "credential:create"
GROUPS = ("Workflow 1", "Called 1")


class Scene:
    """A keyward that knows its n8n, and the fleet with two records that hold the one key."""

    def __init__(self, installed, binary, folder, cleanup):
        self.key, self.own = new_key(), {"workflow-1": new_key(), "called-1": new_key()}
        self.openai = openai.OpenAI([self.key, *self.own.values()])
        cleanup.callback(self.openai.stop)
        self.n8n = n8n.N8n(installed, folder)
        cleanup.callback(lambda: self.n8n.stop())
        self.n8n.ready()
        self.keys = {
            "lacking": self.n8n.make_key("lacking", [*SCOPES, *OF_CREDENTIALS]),
            "whole": self.n8n.make_key("whole", [*SCOPES, *OF_CREDENTIALS, CREATE]),
        }
        self._key = folder / "n8n-api-key"
        self.give("lacking")
        self.folder = folder / "segments"
        self.folder.mkdir()
        settings = N8N.format(url=self.n8n.url, key=self._key) + "press = false\n"
        self.keyward = keyward.Keyward(binary, self.folder, self.openai.url, self.key, new_key(), settings=settings)
        cleanup.callback(self.keyward.stop)
        data = tagged(self.major, self.keyward, self.key)
        records = [self.n8n.create_credential(name, data) for name in ("One", "Two")]
        self.fleet = fleet.Fleet(self.n8n, records, f"={self.keyward.url}{TAGGED_PATH}")
        for name, own in self.own.items():
            keep(self.folder / name, own)

    @property
    def major(self):
        return self.n8n.release.major

    def give(self, name):
        """Has keyward ask n8n with that API key."""
        keep(self._key, self.keys[name])

    def segment(self):
        groups = [part for group in GROUPS for part in ("--group", group)]
        more = ("--url", self.keyward.url, "--write-config", "--yes")
        return self.keyward.run("n8n", "segment", "--by", "workflow", *groups, *more)

    def records_of(self, name):
        """The names of the records that the nodes of a workflow use, in what runs."""
        document = self.n8n.api("GET", f"/workflows/{self.fleet.workflows[name].id}")
        held = [node.get("credentials", {}).get("openAiApi") for node in document["activeVersion"]["nodes"]]
        return {record["name"] for record in held if record}


def steps(major):
    """All steps with a release of n8n, in their order: the API of n8n 1 cannot test a credential."""
    return [tells_of_a_missing_scope, makes_a_credential_for_each_group, sends_its_own_key, makes_nothing_twice] if major >= 2 else []


def tells_of_a_missing_scope(scene, expect):
    """an API key that may make no credential is told, and no node is moved"""
    before = [scene.records_of(name) for name in GROUPS]
    done = scene.segment()
    expect.equal("the status", done.returncode, 1)
    expect.true(f"the scope is named: {done.stderr}", CREATE in done.stderr)
    expect.equal("the records of the nodes", [scene.records_of(name) for name in GROUPS], before)
    scene.give("whole")


def makes_a_credential_for_each_group(scene, expect):
    """one command makes a set, a token and a credential for each of two groups, and their nodes use it"""
    done = scene.segment()
    expect.equal(f"the status, which says {done.stdout}{done.stderr}", done.returncode, 0)
    made = sorted(record.name for record in scene.n8n.records())
    expect.equal("the records", made, ["One", "OpenAI, called-1", "OpenAI, workflow-1", "Two"])
    expect.equal("the nodes of Workflow 1", scene.records_of("Workflow 1"), {"OpenAI, workflow-1"})
    expect.equal("the nodes of Called 1", scene.records_of("Called 1"), {"OpenAI, called-1"})
    expect.true("other nodes stay", scene.records_of("Workflow 2") <= {"One", "Two"})
    secrets = [scene.key, *scene.own.values(), *scene.keys.values()]
    for text in (done.stdout, done.stderr, (scene.folder / "state" / "segments.json").read_text()):
        expect.true("no key is shown or kept", not any(secret in text for secret in secrets))


def sends_its_own_key(scene, expect):
    """every workflow runs, and each group's requests reach OpenAI with the key of its set alone"""
    known = len(scene.openai.journal)
    expect.equal("what did not end well", scene.fleet.run(), {})
    bearers = {key for request in scene.openai.journal[known:] for key in request.values("authorization")}
    expect.equal("the keys that came to OpenAI", bearers, {f"Bearer {key}" for key in (scene.key, *scene.own.values())})
    verdicts = {(line["set"], line["verdict"]) for line in scene.keyward.exchanges()}
    expect.equal("the verdicts", verdicts, {("default", "current"), ("workflow-1", "token"), ("called-1", "token")})


def makes_nothing_twice(scene, expect):
    """the same command again changes nothing"""
    before = len(scene.n8n.records())
    done = scene.segment()
    expect.equal(f"the status, which says {done.stdout}{done.stderr}", done.returncode, 0)
    expect.equal("the number of records", len(scene.n8n.records()), before)
