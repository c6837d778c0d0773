"""The situations in which n8n sends an old key or none although you have rotated it, and what keyward says of each.

Each was seen with the real n8n first.  A situation is a function of the stage and of `expect`; its docstring is
the name of its check.
"""

import contextlib
import threading

import kinds
import openai
import processes
import workflows
from expect import shown
from stage import POLICIES, Trial

USERS_ORGANIZATION = "org-UsersOwn1234"


def of(major):
    """The situations that a major release can get into, in the order in which they run."""
    return [
        another_record,
        typed_key,
        *([draft_is_not_published] if major >= 2 else []),
        waiting_execution,
        retry_with_the_original_workflow,
        retry_inside_a_node,
        redirect_in_front,
        redirect_behind,
        # The last: n8n starts anew with other variables.
        environment,
    ]


def another_record(stage, expect):
    """a second credential record still has the old key"""
    stage.rotate()
    for policy in POLICIES:
        for tagged in stage.taggings().values():
            workflow = stage.another(workflows.vendor_message, tagged(policy, apiKey=stage.previous))
            expect.stale(stage.run(workflow, policy), workflow, policy, stage.previous)


def typed_key(stage, expect):
    """a key that was typed into a header is sent for ever, whatever the credential holds"""
    for policy in POLICIES:
        stage.edit(stage.tagged(policy))
        # Nothing but its own address can tell who this node is.
        base = stage.tagged_base(policy)
        setting = workflows.Setting(stage.major, stage.credential, base, stage.previous)
        workflow = stage.n8n.import_workflow(workflows.http_request_with_typed_key(setting))
        expect.stale(stage.run(workflow, policy), workflow, policy, stage.previous)


def draft_is_not_published(stage, expect):
    """the right record is chosen in the draft, which is not published"""
    for policy in POLICIES:
        workflow = stage.another(workflows.legacy_chat, stage.tagged(policy, apiKey=stage.previous))
        stage.n8n.save(workflow, _record_with_current_key(stage, policy))
        expect.stale(stage.run(workflow, policy), workflow, policy, stage.previous)
        stage.n8n.activate(workflow.id)
        expect.current(stage.run(workflow, policy), workflow)


def waiting_execution(stage, expect):
    """an execution that waits keeps the record that its workflow had, when the nodes get a new one"""
    waiting = {}
    for policy in POLICIES:
        workflow = stage.another(workflows.waiting, stage.tagged(policy))
        waiting[policy] = workflow, stage.n8n.start(workflow)
    stage.rotate()
    for policy, (workflow, execution) in waiting.items():
        stage.n8n.save(workflow, _record_with_current_key(stage, policy))
        stage.n8n.activate(workflow.id)
        expect.stale(_resumed(stage, policy, execution), workflow, policy, stage.previous)
        expect.current(_resumed(stage, policy, stage.n8n.start(workflow)), workflow)


def retry_with_the_original_workflow(stage, expect):
    """a failed execution is retried with its original workflow"""
    with _openai_knows(stage, {stage.current}):
        for policy in POLICIES:
            workflow = stage.another(workflows.legacy_chat, stage.tagged(policy, apiKey=stage.previous))
            failed = stage.run(workflow, policy)
            expect.failure(failed)
            expect.exchange(failed, verdict="outdated", diagnosis="stale_binding", status=401)
            expect.exchange(failed, upstream_code="invalid_api_key" if policy == "observe" else None)
            stage.n8n.save(workflow, _record_with_current_key(stage, policy))
            stage.n8n.activate(workflow.id)
            again = stage.n8n.retry(workflow, failed.execution, loads_workflow=False)
            expect.stale(Trial(again, *stage.news(policy)), workflow, policy, stage.previous)
            again = stage.n8n.retry(workflow, failed.execution, loads_workflow=True)
            expect.current(Trial(again, *stage.news(policy)), workflow)


def retry_inside_a_node(stage, expect):
    """a node that tries again within one run keeps the key with which it began"""
    for policy in ("observe", "enforce"):
        stage.edit(stage.tagged(policy))
        workflow = stage.n8n.import_workflow(workflows.embeddings(stage.setting(through=policy)))
        began, rotated = threading.Event(), threading.Event()

        def fail_once(_):
            if not began.is_set():
                began.set()
                rotated.wait(timeout=60)
                return 500, {"error": {"message": "try again", "type": "server_error", "code": None}}

        stage.openai.interfere = fail_once
        runs = []
        running = threading.Thread(target=lambda: runs.append(stage.n8n.run(workflow)))
        running.start()
        try:
            processes.until(began.is_set, timeout=30, what="the first attempt")
            stage.rotate()
            stage.edit(stage.tagged(policy))
        finally:
            rotated.set()
            running.join()
            stage.openai.interfere = None
        exchanges, received = stage.news(policy, 2)
        first, second = (Trial(runs[0], [exchange], received[1:]) for exchange in exchanges)
        # It came with what was the right key then.
        expect.exchange(first, verdict="current", diagnosis="upstream_error", status=500)
        expect.sender(first, workflow)
        expect.stale(second, workflow, policy, stage.previous)


# What becomes of the key when a redirect leads to another host, by the kind of node: it is sent along, it is dropped,
# or the node does not follow.
REDIRECTED = [
    (workflows.legacy_chat, "legacy", "kept"),
    (workflows.http_request, "http-request", "kept"),
    (workflows.vendor_message, "vendor", "not followed"),
    (workflows.agent, "sdk", "dropped"),
    (workflows.chain, "sdk", "dropped"),
    (workflows.embeddings, "sdk", "dropped"),
    (workflows.http_request_with_typed_key, "http-request", "dropped"),
]


def redirect_in_front(stage, expect):
    """a redirect in front of keyward makes nodes drop the key"""
    admitting = 'allow_from = ["127.0.0.1"]\nallow_from_is_safe = true'
    stage.proxies["admitting"] = stage.start("admitting", "inject", settings=admitting)
    front = openai.OpenAI([])
    try:
        for through in (*POLICIES, "admitting"):
            # Another host to n8n, and the same machine.
            away = stage.proxies[through].url.replace("127.0.0.1", "localhost")
            front.interfere = lambda received, away=away: (307, {}, {"Location": away + received.path})
            for draft, client, becomes in REDIRECTED:
                _redirected(stage, expect, front, through, (draft, client, becomes))
    finally:
        front.stop()
        stage.proxies.pop("admitting").stop()


def _redirected(stage, expect, front, through, row):
    draft, client, becomes = row
    data = stage.tagged(through)
    url = data["url"].replace(stage.proxies[through].url, front.url)
    credential = stage.n8n.create_credential("OpenAI, redirected", {**data, "url": url})
    setting = workflows.Setting(stage.major, credential, f"{front.url}/v1", stage.current)
    workflow = stage.n8n.import_workflow(draft(setting))
    trial = stage.run(workflow, through, lines=0 if becomes == "not followed" else 1)
    title = f"{draft.__name__} through {through}"
    if becomes == "not followed":
        expect.equal(f"the lines of {title}", trial.exchanges, [])
        expect.failure(trial)
    elif becomes == "kept":
        expect.exchange(trial, verdict="current", diagnosis="ok", status=200, client=client)
    else:
        _dropped(stage, expect, trial, through, (draft, client))


def _dropped(stage, expect, trial, through, sender):
    draft, client = sender
    # What has no key from the first request on may be a program that never had one, if it is no node of the SDK's.
    diagnosis = "dropped_header" if client == "sdk" else "missing_header"
    expect.exchange(trial, verdict="missing", diagnosis=diagnosis, client=client)
    expect.true("the remedy speaks of redirects", client != "sdk" or "redirect" in trial.exchange["remedy"])
    if through == "observe":
        expect.exchange(trial, action="forward", status=401)
        expect.failure(trial)
    elif through in POLICIES:
        expect.exchange(trial, action="refuse", status=401)
        expect.refused(trial)
        (kind,) = (kind for kind in kinds.ALL if kind.draft is draft)
        expect.equal(f"where n8n shows it of {kind.title}", shown(trial), kind.shown[stage.major])
    else:
        # The address is admitted, so that the workflow works, and the fault stands in the log all the same.
        expect.exchange(trial, action="inject", status=200)
        expect.equal("the status of the execution", trial.execution["status"], "success")
        sent = [received.values("authorization") for received in trial.received]
        expect.true("OpenAI got the current key", sent == [[f"Bearer {stage.current}"]])


def redirect_behind(stage, expect):
    """a redirect behind keyward never reaches n8n"""
    stage.openai.interfere = lambda received: (307, {}, {"Location": f"{stage.elsewhere.url}{received.path}"})
    reached = len(stage.elsewhere.journal)
    try:
        for policy in POLICIES:
            stage.edit(stage.tagged(policy))
            for draft in (workflows.legacy_chat, workflows.vendor_message, workflows.embeddings):
                workflow = stage.n8n.import_workflow(draft(stage.setting(through=policy)))
                trial = stage.run(workflow, policy)
                expect.equal("the number of requests", (len(trial.exchanges), len(trial.received)), (1, 1))
                expect.exchange(trial, verdict="current", diagnosis="upstream_redirect", outcome="redirected")
                expect.sender(trial, workflow)
                expect.failure(trial)
                expect.true("n8n shows that it was a redirect", shown(trial, "answered with a redirect (307)"))
    finally:
        stage.openai.interfere = None
    expect.equal("what came to where the redirect leads", len(stage.elsewhere.journal), reached)


def environment(stage, expect):
    """keys that come from n8n's environment"""
    rotated = "={{ $env.ROTATED_KEY }}"
    born = stage.first
    by_policy = {
        policy: stage.another(workflows.legacy_chat, stage.tagged(policy, apiKey=rotated)) for policy in POLICIES
    }
    for policy, workflow in by_policy.items():
        expect.stale(stage.run(workflow, policy), workflow, policy, born)
    _undefined_without_environment(stage, expect)
    stage.n8n.restart(
        {
            "ROTATED_KEY": stage.current,
            "CREDENTIALS_OVERWRITE_DATA": f'{{"openAiApi": {{"apiKey": "{stage.previous}"}}}}',
            "OPENAI_API_KEY": stage.previous,
            "OPENAI_ORG_ID": USERS_ORGANIZATION,
        }
    )
    for policy, workflow in by_policy.items():
        expect.current(stage.run(workflow, policy), workflow)
        for draft in (workflows.vendor_message, workflows.embeddings):
            overwritten = stage.another(draft, stage.tagged(policy, apiKey=""))
            expect.stale(stage.run(overwritten, policy), overwritten, policy, stage.previous)
        undefined = stage.another(workflows.embeddings, stage.tagged(policy, apiKey="={{ undefined }}"))
        trial = stage.run(undefined, policy)
        expect.stale(trial, undefined, policy, stage.previous)
        if policy == "observe":
            organization = trial.received[0].values("openai-organization")
            expect.equal("the organisation from n8n's environment", organization, [USERS_ORGANIZATION])


def _undefined_without_environment(stage, expect):
    """Without a key in the environment, the nodes of the SDK send nothing, and the others what is no key."""
    diagnosis = "malformed_empty" if stage.major < 2 else "malformed_undefined"
    for policy in POLICIES:
        data = stage.tagged(policy, apiKey="={{ undefined }}")
        workflow = stage.another(workflows.legacy_chat, data)
        trial = stage.run(workflow, policy)
        expect.exchange(trial, verdict="malformed", diagnosis=diagnosis)
        expect.sender(trial, workflow)
        silent = stage.run(stage.another(workflows.embeddings, data), policy, lines=0)
        expect.equal("the lines of a node that sends nothing", silent.exchanges, [])
        expect.failure(silent)


# === Parts ===


def _record_with_current_key(stage, policy):
    return stage.n8n.create_credential("OpenAI, the new one", stage.tagged(policy))


def _resumed(stage, policy, execution):
    run = stage.n8n.resume(*execution)
    return Trial(run, *stage.news(policy))


@contextlib.contextmanager
def _openai_knows(stage, keys):
    """Has OpenAI take these keys alone for a while."""
    before = stage.openai.keys
    stage.openai.keys = keys
    try:
        yield
    finally:
        stage.openai.keys = before
