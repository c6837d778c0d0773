"""What else is tried with each n8n: the editor, addresses of nodes, and the end of keyward.

A scenario is a function of the stage and of `expect`, which collects what is not as it should be.  The
docstring is the name of its check.
"""

import kinds
import workflows
from expect import shown
from matrix import HEALTHY
from situations import USERS_ORGANIZATION


def at_first():
    """What is tried before the first rotation."""
    return [knows_the_client_without_a_tag, passes_on_the_users_organization]


def of_nodes():
    """What is tried with single nodes."""
    return [
        opens_the_editors_lists,
        presses_the_test_button,
        tags_by_the_address_of_a_node,
        refuses_a_node_that_was_given_no_key,
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
    unnamed = {"path": "/v1/models", "workflow_id": None, "execution_id": None, "node_id": None}
    for exchange in exchanges:
        for field, value in {**unnamed, **wanted}.items():
            expect.equal(f"{field} in the line of the editor", exchange.get(field), value)


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


def refuses_a_node_that_was_given_no_key(stage, expect):
    """an HTTP Request node without a credential is refused, and n8n shows it"""
    setting = workflows.Setting(stage.major, None, stage.tagged_base("enforce"), None)
    workflow = stage.n8n.import_workflow(workflows.http_request_without_key(setting))
    trial = stage.run(workflow, "enforce")
    expect.exchange(trial, verdict="missing", diagnosis="missing_header", action="refuse", status=401)
    expect.sender(trial, workflow)
    expect.refused(trial)
    expect.equal("where n8n shows it", shown(trial), kinds.DETAILS)


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
            for number, secret in enumerate([*stage.keys, *stage.tokens.values()]):
                expect.true(f"{path} is without secret {number}", secret.encode() not in text)
