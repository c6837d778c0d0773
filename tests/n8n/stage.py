"""The set-up that a release of n8n is tried in: a fake OpenAI, a keyward, the n8n and its workflows."""

import contextlib
import secrets
from dataclasses import dataclass

import keyward
import n8n
import openai
import processes
import workflows

# `$workflow.id` alone would break the test button and the model lists, which run without a workflow.
WORKFLOW = "{{ $execution.id == '__UNKNOWN__' ? 'editor' : $workflow.id }}"
EXECUTION = "{{ $execution.id }}"
TAGGED_PATH = f"/n8n/{WORKFLOW}/{EXECUTION}/{{{{ $nodeId || 'none' }}}}/v1"
TAGGED_ORGANIZATION = f"=n8n-{WORKFLOW}-{EXECUTION}"
TAG_HEADER = {
    "header": True,
    "headerName": "X-N8N-Tag",
    "headerValue": "=wf={{ $workflow.id }};ex={{ $execution.id }};node={{ $nodeId }}",
}


@dataclass(frozen=True)
class Trial:
    """One run of a workflow, keyward's line of its request, and that request as it reached OpenAI."""

    run: n8n.Run
    exchange: dict
    received: openai.Received


class Stage:
    """Everything that a scenario acts on.  What it starts is registered with `cleanup`."""

    def __init__(self, installed, binary, folder, cleanup):
        self.current, self.previous = new_key(), new_key()
        self._beginning = (binary, folder, cleanup)
        self.openai = openai.OpenAI([self.current, self.previous])
        cleanup.callback(self.openai.stop)
        self.n8n = n8n.N8n(installed, folder)
        cleanup.callback(self.n8n.stop)
        self.keyward = keyward.Keyward(binary, folder, self.openai.url, self.current, self.previous)
        cleanup.callback(self.keyward.stop)
        self.n8n.ready()
        # The workflows are made once: what the scenarios change in n8n afterwards is the credential.
        self.credential = self.n8n.create_credential("OpenAI", self.plain())
        self.legacy = self.n8n.import_workflow(workflows.legacy(self.credential))
        self.agent = self.n8n.import_workflow(workflows.agent(self.credential))
        self.http_request = self.n8n.import_workflow(
            workflows.http_request(self.credential, f"{self.keyward.url}/v1")
        )

    # === What a credential may hold ===

    def plain(self, **other):
        """The proxy's address and the current key, and nothing that would tell who sends."""
        return {"apiKey": self.current, "url": f"{self.keyward.url}/v1", **other}

    def tagged_by_path(self, **other):
        """The two expressions that tag each node in every n8n."""
        return self.plain(
            **{"url": f"={self.keyward.url}{TAGGED_PATH}", "organizationId": TAGGED_ORGANIZATION, **other}
        )

    def tagged_by_header(self, **other):
        """The custom header that tags each node in n8n 2."""
        return self.plain(**TAG_HEADER, **other)

    def taggings(self):
        """Each way to tag that this n8n has, by the name that keyward gives to it."""
        ways = {"path": self.tagged_by_path}
        return ways if self.n8n.release.major < 2 else {**ways, "tag": self.tagged_by_header}

    # === What a scenario does ===

    def edit(self, data):
        """Saves other values in the one credential that the stage's own workflows use."""
        self.n8n.edit_credential(self.credential, data)

    @contextlib.contextmanager
    def through(self, policy, grace="0s"):
        """A keyward with that policy beside the first one, which the values of credentials name meanwhile."""
        binary, folder, cleanup = self._beginning
        (folder / policy).mkdir()
        first = self.keyward
        keys = (self.current, self.previous)
        self.keyward = keyward.Keyward(binary, folder / policy, self.openai.url, *keys, policy, grace)
        cleanup.callback(self.keyward.stop)
        try:
            yield self.keyward
        finally:
            self.keyward.stop()
            self.keyward = first

    def another(self, workflow, data):
        """A second credential record, and a new workflow that uses it."""
        credential = self.n8n.create_credential("OpenAI, the other one", data)
        return self.n8n.import_workflow(workflow(credential))

    def run(self, workflow):
        """Runs a workflow that sends one request."""
        traffic = self.traffic()
        run = self.n8n.run(workflow)
        ((exchange, received),) = traffic.all()
        return Trial(run, exchange, received)

    def traffic(self):
        """What comes from now on."""
        return Traffic(self)


class Traffic:
    """What came since a moment: keyward's line of each exchange with what reached OpenAI of it."""

    def __init__(self, stage):
        self._stage = stage
        self._exchanges, self._received = len(stage.keyward.exchanges()), len(stage.openai.journal)

    def all(self):
        """All of it, which is at least one, as soon as keyward has logged each."""
        # keyward is set up to forward whatever comes, so both have the same number of entries.  They have
        # the same order too, since the scenarios send one request after another.
        return processes.until(self._complete, timeout=20, what="one log line for each request upstream")

    def _complete(self):
        exchanges = self._stage.keyward.exchanges()[self._exchanges :]
        received = self._stage.openai.journal[self._received :]
        return len(exchanges) == len(received) and list(zip(exchanges, received))


def new_key():
    """An invented key of the form and length of a real one."""
    return f"sk-proj-{secrets.token_hex(24)}"
