"""The set-up that a release of n8n is tried in: a fake OpenAI, keyward with each policy, the n8n and its workflows."""

import secrets
from dataclasses import dataclass

import keyward
import n8n
import openai
from workflows import Setting

# `$workflow.id` alone would break the test button and the model lists, which run without a workflow.
WORKFLOW = "{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}"
EXECUTION = "{{ $execution.id }}"
TAGGED_PATH = f"/n8n/{WORKFLOW}/{EXECUTION}/{{{{ $nodeId || 'none' }}}}/v1"
TAGGED_ORGANIZATION = f"=n8n-{WORKFLOW}-{EXECUTION}"
TAG_HEADER = {
    "header": True,
    "headerName": "X-N8N-Tag",
    "headerValue": f"=wf={WORKFLOW};ex={EXECUTION};node={{{{ $nodeId }}}}",
}
# Each policy that keyward is tried with, and the grace of previous keys under it.
POLICIES = {"observe": "24h", "enforce": "0s", "inject": "0s"}
# One more that enforces, and has a set beside the default one.
TWO_SETS = "two sets"


@dataclass(frozen=True)
class Trial:
    """One run of a workflow, keyward's line of each request, and those requests as they reached OpenAI."""

    run: n8n.Run
    exchanges: list
    received: list

    @property
    def exchange(self):
        return self.exchanges[0]

    @property
    def execution(self):
        return self.run.execution


class Stage:
    """Everything that a scenario acts on.  What it starts is registered with `cleanup`."""

    def __init__(self, installed, binary, folder, cleanup):
        self.current, self.previous = new_key(), new_key()
        self.folder, self.binary, self._cleanup = folder, binary, cleanup
        self.openai, self.elsewhere = (openai.OpenAI([self.current, self.previous]) for _ in range(2))
        cleanup.callback(self.openai.stop)
        cleanup.callback(self.elsewhere.stop)
        # The key that n8n finds in its environment when it starts.
        self.first = self.current
        self.n8n = n8n.N8n(installed, folder, {"ROTATED_KEY": self.first})
        cleanup.callback(lambda: self.n8n.stop())
        self.proxies = {policy: self.start(policy) for policy in POLICIES}
        self.keys = [self.current, self.previous]
        self.proxies[TWO_SETS] = self.start(TWO_SETS, "enforce", settings=self._staging())
        self.tokens = {name: self._new_token(self.proxies[name]) for name in ("inject", TWO_SETS)}
        self._read = 0
        self._workflows = {}
        self.n8n.ready()
        self.credential = self.n8n.create_credential("OpenAI", self.plain())
        aside = {"apiKey": self.current, "url": f"{self.elsewhere.url}/v1"}
        self.aside = self.n8n.create_credential("Past keyward", aside)

    @property
    def major(self):
        return self.n8n.release.major

    def start(self, name, policy=None, **other):
        """A keyward with that policy; its own folder bears the name."""
        policy = policy or name
        own = self.folder / name
        own.mkdir()
        keys = (self.current, self.previous)
        started = keyward.Keyward(self.binary, own, self.openai.url, *keys, policy, POLICIES[policy], **other)
        self._cleanup.callback(started.stop)
        return started

    def _staging(self):
        """A second set, and its key."""
        file, key = self.folder / "staging-key", new_key()
        self.keys.append(key)
        keep(file, key)
        return f'[keys.staging]\npolicy = "enforce"\ncurrent = {{ file = "{file}" }}'

    def _new_token(self, proxy):
        token = proxy.command("token", "new", "default", "--name", "n8n")
        proxy.wait_for("was made")
        return token

    # === What a credential may hold ===

    def plain(self, through="observe", **other):
        """The proxy's address and the current key, and nothing that would tell who sends."""
        return {"apiKey": self.current, "url": f"{self.proxies[through].url}/v1", **other}

    def tagged_by_path(self, through="observe", **other):
        """The two expressions that tag each node in every n8n."""
        tags = {"url": self.tagged_base(through), "organizationId": TAGGED_ORGANIZATION}
        return self.plain(through, **{**tags, **other})

    def tagged_base(self, through="observe"):
        """The tagging address, for a field of a node's own."""
        return f"={self.proxies[through].url}{TAGGED_PATH}"

    def tagged_by_header(self, through="observe", **other):
        """The custom header that tags each node in n8n 2."""
        return self.plain(through, **{**TAG_HEADER, **other})

    def taggings(self):
        """Each way to tag that this n8n has, by the name that keyward gives to it."""
        ways = {"path": self.tagged_by_path}
        return ways if self.major < 2 else {**ways, "tag": self.tagged_by_header}

    def tagged(self, through="observe", **other):
        """The way that docs/connect-n8n.md recommends for this n8n."""
        return list(self.taggings().values())[-1](through, **other)

    # === What a scenario does ===

    def edit(self, data):
        """Saves other values in the one credential that the stage's own workflows use."""
        self.n8n.edit_credential(self.credential, data)

    def rotate(self):
        """Makes another key the current one at OpenAI and at keyward.

        n8n is not told, and OpenAI still takes the old one.
        """
        self.previous, self.current = self.current, new_key()
        self.keys.append(self.current)
        self.openai.keys.add(self.current)
        self.elsewhere.keys.add(self.current)
        for proxy in self.proxies.values():
            proxy.rotate(self.current)

    def setting(self, credential=None, through="observe", key=None, base=None):
        """What a workflow is made for, by default with the stage's own credential and keyward's plain address."""
        base = base or f"{self.proxies[through].url}/v1"
        return Setting(self.major, credential or self.credential, base, key or self.current, self.aside)

    def workflow(self, kind, through="observe", key=None, base=None):
        """The workflow of a kind with the stage's own credential.

        It is made once, and once more for each address and key of its own.
        """
        setting = self.setting(through=through, key=key, base=base)
        known = (kind, *(getattr(setting, field) for field in kind.own))
        if known not in self._workflows:
            self._workflows[known] = self.n8n.import_workflow(kind.draft(setting))
        return self._workflows[known]

    def another(self, draft, data, through="observe"):
        """A second credential record, and a new workflow that uses it."""
        credential = self.n8n.create_credential("OpenAI, the other one", data)
        return self.n8n.import_workflow(draft(self.setting(credential, through, key=data["apiKey"])))

    def run(self, workflow, through="observe", lines=1):
        """Runs a workflow that has keyward write so many lines."""
        run = self.n8n.run(workflow)
        return Trial(run, *self.news(through, lines))

    def news(self, through="observe", lines=1):
        """What came since the last time: keyward's lines, which are at least so many, and what reached OpenAI."""
        exchanges = self.proxies[through].news(lines)
        self._read, received = len(self.openai.journal), self.openai.journal[self._read :]
        return exchanges, received


def tagged(major, keyward, key):
    """What a credential of that n8n holds that leads to keyward and tags its nodes."""
    if major < 2:
        return {"apiKey": key, "url": f"={keyward.url}{TAGGED_PATH}", "organizationId": TAGGED_ORGANIZATION}
    return {"apiKey": key, "url": f"{keyward.url}/v1", **TAG_HEADER}


def keep(path, secret):
    """Puts a secret into a file that its owner alone may read."""
    path.touch(mode=0o600)
    path.write_text(secret)


def new_key():
    """An invented key of the form and length of a real one."""
    return f"sk-proj-{secrets.token_hex(24)}"
