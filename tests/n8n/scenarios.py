"""What is tried with each n8n, and what keyward must say of it.

A scenario is a function of the stage and of `expect`, which collects what is not as it should be.  The
docstring is the name of its check.
"""

import json

import openai
import processes
import workflows
from stage import new_key

HEALTHY = {"set": "default", "verdict": "current", "diagnosis": "ok", "status": 200}
USERS_ORGANIZATION = "org-UsersOwn1234"


def of(release):
    """The scenarios for a release, in the order in which they run."""
    return [
        knows_the_client_without_a_tag,
        one_edit_tags_every_node,
        tags_http_request,
        *([carries_a_stream] if release.major >= 2 else []),
        names_the_node_with_the_old_key,
        tells_an_empty_key,
        tells_the_test_button_from_a_workflow,
        passes_on_the_users_organization,
        passes_on_the_key_and_no_tag,
        rotates_behind_a_token,
        shows_why_a_key_is_refused,
        exits_cleanly,
        never_writes_a_key,
    ]


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
        """Compares fields of keyward's log line; one that is absent is like null."""
        for field, value in wanted.items():
            self.equal(f"{field} in the log line of {_title(trial)}", trial.exchange.get(field), value)

    def success(self, trial):
        """The workflow has ended well, with the fake OpenAI's words as its answer."""
        execution = trial.run.execution
        self.equal(f"the status of {_title(trial)}", execution["status"], "success")
        self.equal(f"the webhook's status of {_title(trial)}", trial.run.status, 200)
        self.true(f"{_title(trial)} answers what OpenAI said", openai.ANSWER in str(trial.run.answer))

    def failure(self, trial):
        """The workflow has ended with an error."""
        self.equal(f"the status of {_title(trial)}", trial.run.execution["status"], "error")


def knows_the_client_without_a_tag(stage, expect):
    """without a tag, the kind of client is known"""
    stage.edit(stage.plain())
    for workflow, client in _clients(stage).items():
        trial = stage.run(workflow)
        expect.success(trial)
        expect.exchange(trial, **HEALTHY, client=client, attribution="none")
        expect.exchange(trial, workflow_id=None, execution_id=None, node_id=None)


def one_edit_tags_every_node(stage, expect):
    """one edit of the credential tags an Agent and a legacy node with n8n's own ids"""
    for attribution, data in stage.taggings().items():
        stage.edit(data())
        for workflow in (stage.agent, stage.legacy):
            trial = stage.run(workflow)
            expect.success(trial)
            expect.exchange(trial, **HEALTHY, client=_clients(stage)[workflow], attribution=attribution)
            expect.exchange(trial, **_whose(stage, trial))


def tags_http_request(stage, expect):
    """an HTTP Request node with the credential is tagged, by its organisation if by nothing else"""
    for way, data in stage.taggings().items():
        stage.edit(data())
        trial = stage.run(stage.http_request)
        expect.success(trial)
        whose = _whose(stage, trial)
        # The node has its own address, so the Base URL does not reach it, and with it the node's id.
        if way == "path":
            way, whose["node_id"] = "organization", None
        expect.exchange(trial, **HEALTHY, client="http-request", attribution=way, **whose)


def carries_a_stream(stage, expect):
    """a streaming Agent gets its events from the Responses API"""
    stage.edit(stage.tagged_by_header())
    trial = stage.run(stage.n8n.import_workflow(workflows.streaming_agent(stage.credential)))
    expect.equal("the webhook's status", trial.run.status, 200)
    for word in openai.ANSWER.split():
        expect.true(f"{word!r} came through", word in str(trial.run.answer))
    expect.equal("the path", trial.received.path, "/v1/responses")
    expect.exchange(trial, **HEALTHY, client="sdk", attribution="tag", **_whose(stage, trial))


def names_the_node_with_the_old_key(stage, expect):
    """a second credential record with the old key is a stale binding, with its node and a remedy"""
    stage.edit(stage.plain())
    healthy = stage.run(stage.legacy)
    for attribution, data in stage.taggings().items():
        for kind, client in {workflows.legacy: "legacy", workflows.agent: "sdk"}.items():
            workflow = stage.another(kind, data(apiKey=stage.previous))
            trial = stage.run(workflow)
            # OpenAI still takes the old key, so that n8n and OpenAI notice nothing.
            expect.success(trial)
            expect.exchange(trial, status=200, client=client, attribution=attribution)
            _expect_stale(stage, expect, trial)
            expect.true(
                "the old key has another fingerprint than the current one",
                trial.exchange["fingerprint"] != healthy.exchange["fingerprint"],
            )
    stage.openai.keys.remove(stage.previous)
    trial = stage.run(workflow)
    expect.failure(trial)
    expect.exchange(trial, status=401, upstream_code="invalid_api_key")
    _expect_stale(stage, expect, trial)


def tells_an_empty_key(stage, expect):
    """an empty key is told from a missing and from a wrong one"""
    for attribution, data in stage.taggings().items():
        trial = stage.run(stage.another(workflows.legacy, data(apiKey="")))
        expect.failure(trial)
        expect.exchange(trial, verdict="malformed", diagnosis="malformed_empty", client="legacy")
        expect.exchange(trial, attribution=attribution, **_whose(stage, trial))
        expect.true("the log line has a remedy", trial.exchange.get("remedy"))
        # n8n 1 sends a space after the word and n8n 2 does not; a parser may drop it.
        values = [value.strip() for value in _authorization(trial.received)]
        expect.equal("the header that OpenAI got", values, ["Bearer"])


def tells_the_test_button_from_a_workflow(stage, expect):
    """the credential's test button works, and is no workflow"""
    for way, data in stage.taggings().items():
        stage.edit(data())
        traffic = stage.traffic()
        green, message = stage.n8n.test_credential(stage.credential, data())
        expect.true(f"the test button turns green with a {way}; it says {message!r}", green)
        for exchange, received in traffic.all():
            expect.equal("the path", received.path, "/v1/models")
            expect.equal("the verdict", exchange["verdict"], "current")
            expect.equal("the workflow", exchange.get("workflow_id"), None)
            expect.equal("the node", exchange.get("node_id"), None)


def passes_on_the_users_organization(stage, expect):
    """an organisation that is not a tag passes on untouched"""
    stage.edit(stage.plain(organizationId=USERS_ORGANIZATION))
    trial = stage.run(stage.legacy)
    expect.success(trial)
    expect.exchange(trial, **HEALTHY, attribution="none", workflow_id=None)
    expect.equal("the organisation", trial.received.values("openai-organization"), [USERS_ORGANIZATION])


def passes_on_the_key_and_no_tag(stage, expect):
    """of all requests so far, OpenAI got the key unchanged and none of the tags"""
    keys = {"current": [f"Bearer {stage.current}"], "outdated": [f"Bearer {stage.previous}"]}
    exchanges = stage.keyward.exchanges()
    expect.equal("the number of log lines", len(exchanges), len(stage.openai.journal))
    for exchange, received in zip(exchanges, stage.openai.journal):
        title = f"{received.method} {received.path}"
        expect.true(f"the path of {title} is OpenAI's own", received.path.startswith("/v1/"))
        for name, value in received.headers:
            expect.true(f"{title} came without {name}", not name.lower().startswith("x-n8n"))
            expect.true(f"{name} of {title} tells no id of n8n's", "n8n-" not in value)
        if exchange["verdict"] in keys:
            # The difference itself would show the key.
            expect.true(f"the key of {title} is n8n's", _authorization(received) == keys[exchange["verdict"]])


def rotates_behind_a_token(stage, expect):
    """with a token in place of a key, a rotation passes n8n by"""
    with stage.through("inject") as keyward:
        token = keyward.command("token", "new", "default", "--name", "n8n")
        keyward.wait_for("was made")
        tagged = stage.taggings()["path" if stage.n8n.release.major < 2 else "tag"](apiKey=token)
        stage.edit(tagged)
        address = f"{keyward.url}/v1"
        http_request = stage.n8n.import_workflow(workflows.http_request(stage.credential, address))
        key = stage.current
        for _ in range(2):
            for workflow in (stage.agent, stage.legacy, http_request):
                trial = stage.run(workflow)
                expect.success(trial)
                expect.exchange(trial, set="default", verdict="token", diagnosis="ok", action="inject", status=200)
                values = _authorization(trial.received)
                expect.true("OpenAI got the current key, and nothing else", values == [f"Bearer {key}"])
            # From now on OpenAI knows the new key alone, and nothing changes in n8n.
            key = _rotate(stage, keyward)
        stage.openai.keys = {stage.current, stage.previous}


def _rotate(stage, keyward):
    """Rotates the key at OpenAI and at keyward, and returns the new one."""
    key = new_key()
    stage.openai.keys = {key}
    keyward.rotate(key)
    return key


def shows_why_a_key_is_refused(stage, expect):
    """a refused key never reaches OpenAI, and n8n shows what is wrong with which node"""
    with stage.through("enforce") as keyward:
        tagged = stage.taggings()["path" if stage.n8n.release.major < 2 else "tag"]
        for kind in (workflows.legacy, workflows.agent):
            workflow = stage.another(kind, tagged(apiKey=stage.previous))
            known, reached = len(keyward.exchanges()), len(stage.openai.journal)
            run = stage.n8n.run(workflow)
            (exchange,) = processes.until(
                lambda: keyward.exchanges()[known:], timeout=20, what="the log line of the refusal"
            )
            expect.equal("what reached OpenAI", len(stage.openai.journal), reached)
            expect.equal("the status of the execution", run.execution["status"], "error")
            wanted = {"verdict": "outdated", "diagnosis": "stale_binding", "action": "refuse", "status": 401}
            for field, value in wanted.items():
                expect.equal(f"{field} in the log line", exchange.get(field), value)
            shown = json.dumps(run.execution, ensure_ascii=False)
            for words in (f"node {exchange['node_id']} still sends key", "keyward refused it", "1. Open the node"):
                expect.true(f"{words!r} is shown by n8n", words in shown)
            expect.true("n8n shows nothing of the current key", f"…{stage.current[-4:]}" not in shown)


def exits_cleanly(stage, expect):
    """keyward exits with status 0 after SIGTERM"""
    expect.equal("the exit status", stage.keyward.stop(), 0)


def never_writes_a_key(stage, expect):
    """neither its log, nor its output, nor its state has a key in it"""
    files = [path for path in stage.keyward.state.rglob("*") if path.is_file()]
    for path in [stage.keyward.log, stage.keyward.output, *files]:
        text = path.read_bytes()
        for name, key in {"current": stage.current, "previous": stage.previous}.items():
            expect.true(f"{path.name} is without the {name} key", key.encode() not in text)


def _expect_stale(stage, expect, trial):
    whose = _whose(stage, trial)
    expect.exchange(trial, verdict="outdated", diagnosis="stale_binding", **whose)
    for field in ("message", "remedy"):
        expect.true(f"the log line has a {field}", trial.exchange.get(field))
    words = f"{trial.exchange.get('message')} {trial.exchange.get('remedy')}"
    for field in ("workflow_id", "node_id"):
        expect.true(f"{words!r} names {field} {whose[field]}", whose[field] in words)
    hint = str(trial.exchange.get("hint"))
    expect.true(f"the hint {hint!r} ends as the old key does", hint.endswith(stage.previous[-4:]))
    expect.true("the log line shows no key", stage.previous not in str(trial.exchange))


def _whose(stage, trial):
    """Whose request it was, in the words of n8n's public API."""
    execution = trial.run.execution
    workflow = stage.n8n.api("GET", f"/workflows/{execution['workflowId']}")
    node = next(node for node in workflow["nodes"] if node["name"] == workflows.NODE)
    return {
        "workflow_id": str(workflow["id"]),
        "execution_id": str(execution["id"]),
        "node_id": node["id"],
    }


def _clients(stage):
    """The client family of each of the stage's own workflows."""
    return {stage.agent: "sdk", stage.legacy: "legacy", stage.http_request: "http-request"}


def _authorization(received):
    return received.values("authorization")


def _title(trial):
    return repr(trial.run.execution["workflowData"]["name"])
