"""What else is tried with each n8n: the editor, keys that are none, addresses of nodes, and the end of keyward.

A scenario is a function of the stage and of `expect`, which collects what is not as it should be.  The
docstring is the name of its check.
"""

import answers
import workflows
from matrix import HEALTHY
from situations import BLANK, USERS_ORGANIZATION
from stage import TAG_HEADER, new_key


def at_first():
    """What is tried before the first rotation."""
    return [knows_the_client_without_a_tag, passes_on_the_users_organization]


def of_nodes():
    """What is tried with single nodes."""
    return [
        opens_the_editors_lists,
        presses_the_test_button,
        refuses_what_is_no_key,
        refuses_the_key_of_another_set,
        tags_by_the_address_of_a_node,
    ]


def at_last():
    """What is tried when nothing else is to come."""
    return [has_told_every_request, exits_cleanly, never_writes_a_key]


def knows_the_client_without_a_tag(stage, expect):
    """without a tag, the kind of client is known"""
    stage.edit(stage.plain())
    drafts = {workflows.legacy_chat: "legacy", workflows.vendor_message: "vendor", workflows.embeddings: "sdk"}
    for draft, client in {**drafts, workflows.http_request: "http-request"}.items():
        trial = stage.run(stage.n8n.import_workflow(draft(stage.setting())))
        expect.success(trial, speaks=draft is not workflows.embeddings)
        expect.exchange(trial, **HEALTHY, client=client, attribution="none")
        expect.exchange(trial, workflow_id=None, execution_id=None, node_id=None)


def passes_on_the_users_organization(stage, expect):
    """an organisation that is not a tag passes on untouched"""
    stage.edit(stage.plain(organizationId=USERS_ORGANIZATION))
    trial = stage.run(stage.n8n.import_workflow(workflows.legacy_chat(stage.setting())))
    expect.success(trial)
    expect.exchange(trial, **HEALTHY, attribution="none", workflow_id=None)
    expect.equal("the organisation", trial.received[0].values("openai-organization"), [USERS_ORGANIZATION])


# === The editor ===

# How the editor fills the list of the built-in node: the node's own description says so.
BUILT_IN_LIST = {
    "routing": {
        "request": {"method": "GET", "url": "/v1/models"},
        "output": {
            "postReceive": [
                {"type": "rootProperty", "properties": {"property": "data"}},
                {"type": "setKeyValue", "properties": dict.fromkeys(("name", "value"), "={{$responseItem.id}}")},
            ]
        },
    }
}
LISTS = [
    (workflows.legacy_chat, "chatModel", BUILT_IN_LIST),
    (workflows.vendor_message, "modelId", "modelSearch"),
    (workflows.chain, "model", "searchModels"),
    (workflows.language_model, "model", "openAiModelSearch"),
]


def opens_the_editors_lists(stage, expect):
    """the lists of models open in the editor, and are no workflow's"""
    for way, tagged in stage.taggings().items():
        stage.edit(tagged())
        for draft, parameter, search in LISTS:
            definition = draft(stage.setting()).definition
            node = next(node for node in definition["nodes"] if node["name"] == workflows.NODE)
            found = stage.n8n.models(node, parameter, search)
            # This list of n8n 1 is empty with every Base URL that is not OpenAI's own.
            if stage.major >= 2 or draft is not workflows.vendor_message:
                expect.true(f"{draft.__name__} lists {workflows.MODEL}, tagged by {way}", workflows.MODEL in found)
            exchanges, _ = stage.news()
            _expect_editor(expect, exchanges, verdict="current", diagnosis="ok", status=200)


def presses_the_test_button(stage, expect):
    """the credential's test button is green with the current key and red with an old one, and is no workflow"""
    for way, tagged in stage.taggings().items():
        green, said = stage.n8n.test_credential(stage.credential, tagged())
        expect.true(f"the test button turns green, tagged by {way}; it says {said!r}", green)
        exchanges, _ = stage.news()
        _expect_editor(expect, exchanges, verdict="current", diagnosis="ok", status=200)
        red = tagged("enforce", apiKey=stage.previous)
        green, said = stage.n8n.test_credential(stage.credential, red)
        expect.true(f"the test button turns red, tagged by {way}", not green)
        # n8n asks twice on a 401.
        exchanges, received = stage.news("enforce", 2)
        expect.equal("what reached OpenAI", received, [])
        _expect_editor(expect, exchanges, verdict="outdated", diagnosis="stale_binding", action="refuse", status=401)


def _expect_editor(expect, exchanges, **wanted):
    nobody = {"path": "/v1/models", "workflow_id": None, "execution_id": None, "node_id": None}
    for exchange in exchanges:
        for field, value in {**nobody, **wanted}.items():
            expect.equal(f"{field} in the line of the editor", exchange.get(field), value)


# === Keys that are none ===

NOTHING = "nothing is sent"
# What stands in the field of the key, and what becomes of it in n8n 1 and 2: first in n8n's own requests, then in
# those of the SDK.
FAULTS = {
    "nothing": (lambda key: "", ["malformed_empty"] * 2, ["malformed_empty", NOTHING]),
    "a space": (lambda key: " ", ["malformed_empty"] * 2, ["malformed_empty"] * 2),
    "a space, then the key": (lambda key: f" {key}", ["malformed_whitespace"] * 2, ["malformed_whitespace"] * 2),
    "the key and a no-break space": (
        lambda key: f"{key}\u00a0",
        ["malformed_whitespace"] * 2,
        ["malformed_whitespace"] * 2,
    ),
    "the key in quotes": (lambda key: f'"{key}"', ["malformed_quoted"] * 2, ["malformed_quoted"] * 2),
    "Bearer and the key": (lambda key: f"Bearer {key}", ["malformed_doubled"] * 2, ["malformed_doubled"] * 2),
    "undefined": (lambda key: "={{ undefined }}", ["malformed_empty", "malformed_undefined"], [NOTHING] * 2),
    "null": (lambda key: "={{ null }}", ["malformed_empty", "malformed_null"], [NOTHING] * 2),
    "a placeholder": (lambda key: "YOUR_API_KEY", ["malformed_placeholder"] * 2, ["malformed_placeholder"] * 2),
    "an address": (lambda key: "https://api.openai.com/v1", ["malformed_url"] * 2, ["malformed_url"] * 2),
    "a key that nobody knows": (lambda key: new_key(), ["unlisted_key"] * 2, ["unlisted_key"] * 2),
    "a space behind the key, which is none": (lambda key: f"{key} ", ["ok"] * 2, ["ok"] * 2),
}
FAULTY = {
    workflows.legacy_chat: "legacy",
    workflows.vendor_message: "vendor",
    workflows.http_request: "http-request",
    workflows.embeddings: "sdk",
}


def refuses_what_is_no_key(stage, expect):
    """what is no key is refused by its name at the first attempt, and n8n shows it"""
    made = {draft: stage.n8n.import_workflow(draft(stage.setting(through="enforce"))) for draft in FAULTY}
    for title, (value, of_n8n, of_sdk) in FAULTS.items():
        stage.edit(stage.tagged("enforce", apiKey=value(stage.current)))
        for draft, client in FAULTY.items():
            wanted = (of_sdk if client == "sdk" else of_n8n)[stage.major - 1]
            _try_fault(stage, expect, made[draft], client, wanted, f"{title} in {draft.__name__}")
    # An edit would keep the key that was there; a new record takes the blank for one.
    blank = stage.another(workflows.legacy_chat, stage.tagged("enforce", apiKey=BLANK))
    _try_fault(stage, expect, blank, "legacy", "malformed_placeholder", "n8n's own blank")


def _try_fault(stage, expect, workflow, client, wanted, title):
    trial = stage.run(workflow, "enforce", lines=0 if wanted == NOTHING else 1)
    seen = [exchange["diagnosis"] for exchange in trial.exchanges] or [NOTHING]
    expect.equal(f"what comes of {title}", seen, [wanted])
    if wanted == "ok":
        expect.success(trial, speaks=answers.ANSWER in str(trial.run.answer))
    elif wanted == NOTHING:
        expect.failure(trial)
    else:
        # An organisation, which is the only tag of an HTTP Request node in n8n 1, has no room for the node.
        whole = stage.major >= 2 or client != "http-request"
        expect.exchange(trial, client=client, action="refuse", status=401, workflow_id=workflow.sender)
        expect.exchange(trial, node_id=workflow.node if whole else None)
        expect.refused(trial)


def refuses_the_key_of_another_set(stage, expect):
    """a key of another set than the one that is declared is refused, and n8n shows it"""
    key = stage.folder / "staging-key"
    key.touch(mode=0o600)
    key.write_text(new_key())
    more = f'[keys.staging]\npolicy = "enforce"\ncurrent = {{ file = "{key}" }}'
    stage.proxies["two sets"] = stage.start("two sets", "enforce", settings=more)
    try:
        base = stage.tagged_base("two sets").replace("/n8n/", "/set/staging/n8n/")
        declared = {"path": {"url": base}, "tag": {"headerValue": f"{TAG_HEADER['headerValue']};set=staging"}}
        for way, tagged in stage.taggings().items():
            workflow = stage.another(workflows.vendor_message, tagged("two sets", **declared[way]))
            trial = stage.run(workflow, "two sets")
            expect.exchange(trial, set="staging", verdict="foreign", diagnosis="wrong_set", status=401)
            expect.sender(trial, workflow)
            expect.refused(trial)
    finally:
        stage.proxies.pop("two sets").stop()


# === Addresses of nodes ===


def tags_by_the_address_of_a_node(stage, expect):
    """a node with an address of its own is tagged by that, also with a typed key"""
    stage.edit(stage.plain())
    for draft in (workflows.http_request, workflows.http_request_with_typed_key, workflows.language_model):
        setting = workflows.Setting(stage.major, stage.credential, stage.tagged_base(), stage.current)
        workflow = stage.n8n.import_workflow(draft(setting))
        trial = stage.run(workflow)
        expect.success(trial)
        expect.exchange(trial, **HEALTHY, attribution="path")
        expect.sender(trial, workflow)


# === The end ===


def has_told_every_request(stage, expect):
    """keyward has written one line for each request, and no other came"""
    for policy, proxy in stage.proxies.items():
        expect.equal(f"the lines of {policy} that no check has asked for", proxy.news(0), [])
    _, received = stage.news(lines=0)
    expect.equal("the requests that reached OpenAI unasked", received, [])


def exits_cleanly(stage, expect):
    """keyward exits with status 0 after SIGTERM"""
    for policy, proxy in stage.proxies.items():
        expect.equal(f"the exit status of {policy}", proxy.stop(), 0)


def never_writes_a_key(stage, expect):
    """neither its log, nor its output, nor its state has a key or a token in it"""
    for proxy in stage.proxies.values():
        files = [path for path in proxy.state.rglob("*") if path.is_file()]
        for path in [proxy.log, proxy.output, *files]:
            text = path.read_bytes()
            for number, secret in enumerate([*stage.keys, stage.token]):
                expect.true(f"{path} is without secret {number}", secret.encode() not in text)
