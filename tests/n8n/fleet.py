"""Twenty workflows of three OpenAI nodes each, and beside them one of every fault that an audit is to find.

Fifteen are started by a webhook, and five of these call one of the other five.  Two credential records share the
nodes, so that one of them can be forgotten.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import kinds
import workflows
from workflows import Setting

WORKFLOWS, NODES_EACH, CALLED = 20, 3, 5
# No request goes there: what would send one is never run.
OPENAI = "https://api.openai.com/v1"
# Kinds that need what these workflows do not have: a webhook that streams, another workflow.  A typed key is a fault.
_LEFT_OUT = {
    workflows.streaming_agent,
    workflows.http_request_with_typed_key,
    workflows.sub_workflow,
    workflows.tool_workflow,
}


@dataclass(frozen=True)
class Node:
    """A node that asks OpenAI, as people know it: by the names that stand in the editor."""

    workflow: str
    name: str
    # The name of its credential record, if it has one.
    record: str = None


@dataclass(frozen=True)
class Made:
    """A workflow that n8n has, and the path of the webhook that starts it, if one does."""

    id: str
    name: str
    webhook: str = None


class Fleet:
    """The workflows in a running n8n.  `base` is keyward's address with the tags in it, for nodes with one of their own."""

    def __init__(self, n8n, records, base):
        self._n8n, self._records, self._base = n8n, records, base
        # By the name of the workflow.
        self.workflows, self.nodes = {}, []
        self._drafts = self._in_turns()
        called = [self._make(f"Called {number + 1}") for number in range(CALLED)]
        for number in range(WORKFLOWS - CALLED):
            self._make(f"Workflow {number + 1}", started=True, calls=called[number] if number < CALLED else None)

    def users_of(self, record):
        """The nodes that use a credential record."""
        return {(node.workflow, node.name) for node in self.nodes if node.record == record.name}

    def run(self):
        """Runs everything that a webhook starts, all at once; gives what did not end well, by name."""
        started = [made for made in self.workflows.values() if made.webhook]
        with ThreadPoolExecutor(len(started)) as pool:
            answers = pool.map(lambda made: self._n8n.call(made.webhook), started)
        return {made.name: answer for made, (status, answer) in zip(started, answers) if status != 200}

    def add(self, name, draft):
        """A workflow of one node beside the others, active.  It is not one of those that `run` runs."""
        definition = workflows.joined(name, [(workflows.NODE, draft)])
        made = self._n8n.create(definition)
        self._n8n.activate(made["id"])
        return Made(str(made["id"]), name, definition["nodes"][0]["parameters"]["path"])

    def _in_turns(self):
        """Every kind in turn, each with one record and then with the other."""
        fit = [kind for kind in kinds.of(self._n8n.release.major) if kind.draft not in _LEFT_OUT]
        for number in range(WORKFLOWS * NODES_EACH):
            turn, position = divmod(number, len(fit))
            yield fit[position], self._records[(turn + position) % 2]

    def _make(self, name, started=False, calls=None):
        parts = []
        for number in range(NODES_EACH):
            kind, record = next(self._drafts)
            title = f"{kind.title} ({number + 1})"
            parts.append((title, kind.draft(Setting(self._n8n.release.major, record, self._base, key=""))))
            self.nodes.append(Node(name, title, record.name))
        if started:
            return self._import(workflows.joined(name, parts, calls and calls.id), activate=True)
        # In n8n 1 a workflow that is only called cannot be active.
        return self._import(workflows.joined_to_be_called(name, parts), activate=self._n8n.release.major >= 2)

    def _import(self, definition, activate):
        made = self._n8n.create(definition)
        if activate:
            self._n8n.activate(made["id"])
        webhook = definition["nodes"][0]["parameters"].get("path")
        self.workflows[made["name"]] = Made(str(made["id"]), made["name"], webhook)
        return self.workflows[made["name"]]
