"""What a check holds against what it sees."""

import json

import answers

# What a policy does about an old key whose grace is over; `observe` gives it one.
TREATED = {
    "observe": {"action": "forward"},
    "enforce": {"action": "refuse", "status": 401},
    "inject": {"action": "refuse", "status": 401},
}


class Expect:
    """Collects differences, so that a check that fails tells all of them at once."""

    def __init__(self):
        self.differences = []

    def equal(self, what, seen, wanted):
        if seen != wanted:
            self.differences.append(f"{what} is {seen!r}, not {wanted!r}")

    def true(self, what, holds):
        if not holds:
            self.differences.append(f"this does not hold: {what}")

    def exchange(self, trial, **wanted):
        """Compares fields of each of keyward's log lines; one that is absent is like null."""
        self.true("keyward wrote a line", trial.exchanges)
        for exchange in trial.exchanges:
            for field, value in wanted.items():
                self.equal(f"{field} in the log line of {exchange.get('path')}", exchange.get(field), value)

    def success(self, trial, speaks=True):
        """The workflow has ended well, with the fake OpenAI's words as its answer if it has words for one."""
        self.equal("the status of the execution", trial.execution["status"], "success")
        self.equal("the webhook's status", trial.run.status, 200)
        if speaks:
            said = str(trial.run.answer)
            self.true("the workflow answers what OpenAI said", all(word in said for word in answers.ANSWER.split()))

    def failure(self, trial):
        """The execution that sent has ended with an error."""
        self.equal("the status of the execution", trial.execution["status"], "error")

    def words(self, trial, key):
        """The line says in words which key came from whom and what to do, and shows no key."""
        exchange = trial.exchange
        for field in ("message", "remedy"):
            self.true(f"the log line has a {field}", exchange.get(field))
        words = f"{exchange.get('message')} {exchange.get('remedy')}"
        for field in ("workflow_id", "node_id"):
            self.true(f"{words!r} names the {field}", (exchange.get(field) or "") in words)
        hint = str(exchange.get("hint"))
        self.true(f"the hint {hint!r} ends as the key does", hint.endswith(key[-4:]))
        self.true("the log line shows no key", key not in str(trial.exchanges))

    def sender(self, trial, workflow):
        """The line names the workflow, the execution and the node as n8n's public API does."""
        self.exchange(trial, **whose(workflow, trial))

    def stale(self, trial, workflow, policy, key):
        """An old key was named with its sender, and treated as the policy says."""
        self.exchange(trial, verdict="outdated", diagnosis="stale_binding", **TREATED[policy])
        self.sender(trial, workflow)
        self.words(trial, key)
        if policy == "observe":
            sent = [received.values("authorization") for received in trial.received]
            self.true("OpenAI got the old key, once", sent == [[f"Bearer {key}"]])
        else:
            self.refused(trial)

    def current(self, trial, workflow):
        """The right key was named with its sender, and all went well."""
        self.exchange(trial, verdict="current", diagnosis="ok", action="forward", status=200)
        self.sender(trial, workflow)
        self.equal("the status of the execution", trial.execution["status"], "success")

    def refused(self, trial):
        """Nothing reached OpenAI, and n8n shows why."""
        self.equal("what reached OpenAI", trial.received, [])
        self.failure(trial)
        self.true("n8n shows the refusal", shown(trial))


def whose(workflow, trial, attribution="tag"):
    """Whose request it was, in the words of n8n's public API, as far as that kind of attribution can tell."""
    execution = str(trial.execution["id"])
    ids = {"workflow_id": workflow.sender, "execution_id": execution, "node_id": workflow.node}
    if attribution == "none":
        return dict.fromkeys(ids)
    # An organisation has room for two ids.
    return {**ids, "node_id": None} if attribution == "organization" else ids


def shown(trial, *words):
    """Where n8n shows these words: by default what keyward says that happened, and the first step of the remedy."""
    exchange, error = trial.exchange, error_of(trial.execution)
    words = words or (exchange["message"], exchange["remedy"].splitlines()[0])
    places = ("message", "description", "messages")
    return {place for place in places if all(part in _plain(error.get(place)) for part in words)}


def error_of(execution):
    """The error that n8n shows of an execution."""
    data = execution["data"]["resultData"]
    failed = (run["error"] for runs in data.get("runData", {}).values() for run in runs if run.get("error"))
    return data.get("error") or next(failed, {})


def _plain(said):
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
