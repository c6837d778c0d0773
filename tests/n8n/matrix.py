"""Every kind of node, with every way of tagging and every policy, before and after a rotation.

What comes of it is also the table in docs/connect-n8n.md, so each trial leaves there what was seen.
"""

import json
import traceback
from dataclasses import dataclass, field

import kinds
from expect import TREATED, Expect, shown, whose

HEALTHY = {"set": "default", "verdict": "current", "diagnosis": "ok", "status": 200}


@dataclass
class Cell:
    """What was seen of one kind of node in one release, tagged in one way."""

    # Which of workflow, execution and node keyward names; None before the first trial.
    known: tuple = None
    # Whether all went as it should, by policy.
    works: dict = field(default_factory=dict)
    # Where n8n shows the words of a refusal.
    shown: set = field(default_factory=set)


@dataclass(frozen=True)
class Phase:
    """One thing that is tried with each kind, after the credential was edited once for all of them."""

    title: str
    policy: str
    # Edits the credential or rotates the key, and gives the key that n8n sends from then on.
    prepare: object
    # Tries one kind; what differs goes into the attempt's `expect`.
    trial: object


@dataclass(frozen=True)
class Attempt:
    """What the trial of one kind has at hand."""

    stage: object
    kind: kinds.Kind
    way: str
    policy: str
    # The key that n8n sends: OpenAI's, or a token.
    key: str
    cell: Cell
    expect: Expect

    def run(self, lines=None):
        """Runs the kind's workflow, and holds who sent it against n8n's public API."""
        workflow = self.stage.workflow(self.kind, self.policy, self.key)
        trial = self.stage.run(workflow, self.policy, lines or self.kind.requests)
        self.expect.equal("the number of requests", len(trial.exchanges), lines or self.kind.requests)
        attribution = self.kind.known_by[self.way]
        self.expect.exchange(trial, client=self.kind.client, attribution=attribution)
        self.expect.exchange(trial, **whose(workflow, trial, attribution))
        self.cell.known = tuple(trial.exchange.get(field) is not None for field in IDS)
        return trial

    def expect_answer(self, trial, key):
        """The workflow went well, and OpenAI got that key from it and no tag."""
        self.expect.success(trial, self.kind.speaks)
        wanted = self.kind.path_in(self.stage.major)
        self.expect.equal("the path", trial.received[0].path, wanted)
        for received in trial.received:
            # The difference itself would show the key.
            self.expect.true("OpenAI got the one key", received.values("authorization") == [f"Bearer {key}"])
            for name, value in received.headers:
                self.expect.true(f"OpenAI got no {name}", not name.lower().startswith("x-n8n"))
                self.expect.true(f"{name} tells no id of n8n's", "n8n-" not in value)


IDS = ("workflow_id", "execution_id", "node_id")


def phases():
    """What is tried, in that order."""
    return [
        Phase("the current key", "observe", _with_current_key, _is_healthy),
        Phase("the old key after a rotation", "observe", _rotate_beside_n8n, _is_named),
        Phase("the old key", "enforce", _with_previous_key, _is_refused),
        Phase("the current key", "enforce", _with_current_key, _is_healthy),
        Phase("a token", "inject", _with_token, _is_given_the_key),
        Phase("a token after a rotation", "inject", _rotate_behind_token, _is_given_the_key),
    ]


def try_kinds(stage, way, phase, cells):
    """Tries each kind of the release.  Gives what differs for each, by the kind's title."""
    key = phase.prepare(stage, stage.taggings()[way], phase.policy)
    results = {}
    for kind in kinds.of(stage.major):
        cell, expect = cells.setdefault(kind.title, Cell()), Expect()
        try:
            phase.trial(Attempt(stage, kind, way, phase.policy, key, cell, expect))
        except Exception:
            expect.differences.append(traceback.format_exc().rstrip())
        cell.works[phase.policy] = cell.works.get(phase.policy, True) and not expect.differences
        results[kind.title] = expect.differences
    return results


# === What n8n's credential holds; each gives the key in it ===


def _with_current_key(stage, tagged, policy):
    stage.edit(tagged(policy))
    return stage.current


def _with_previous_key(stage, tagged, policy):
    stage.edit(tagged(policy, apiKey=stage.previous))
    return stage.previous


def _with_token(stage, tagged, policy):
    stage.edit(tagged(policy, apiKey=stage.tokens[policy]))
    return stage.tokens[policy]


def _rotate_beside_n8n(stage, *_):
    stage.rotate()
    return stage.previous


def _rotate_behind_token(stage, _, policy):
    stage.rotate()
    # From now on OpenAI knows the new key alone, and nothing changes in n8n.
    stage.openai.keys = {stage.current}
    return stage.tokens[policy]


# === What is tried with each kind ===


def _is_healthy(attempt):
    trial = attempt.run()
    attempt.expect.exchange(trial, **HEALTHY, action="forward")
    attempt.expect_answer(trial, attempt.key)


def _is_named(attempt):
    """OpenAI still takes the old key, so that n8n and OpenAI notice nothing."""
    trial = attempt.run()
    attempt.expect.exchange(trial, set="default", verdict="outdated", diagnosis="stale_binding", status=200)
    attempt.expect.words(trial, attempt.key)
    attempt.expect_answer(trial, attempt.key)


def _is_refused(attempt):
    """One attempt, which never reaches OpenAI, and words for the person in front of n8n."""
    trial = attempt.run(lines=1)
    attempt.expect.exchange(trial, verdict="outdated", diagnosis="stale_binding", **TREATED[attempt.policy])
    attempt.expect.refused(trial)
    attempt.expect.words(trial, attempt.key)
    attempt.cell.shown = shown(trial)
    attempt.expect.equal("where n8n shows the refusal", attempt.cell.shown, attempt.kind.shown[attempt.stage.major])
    text = json.dumps(trial.execution, ensure_ascii=False)
    attempt.expect.true("n8n shows nothing of the current key", f"…{attempt.stage.current[-4:]}" not in text)


def _is_given_the_key(attempt):
    trial = attempt.run()
    attempt.expect.exchange(trial, set="default", verdict="token", diagnosis="ok", action="inject", status=200)
    attempt.expect.true("the line tells which key was put in", trial.exchange.get("injected"))
    attempt.expect_answer(trial, attempt.stage.current)
