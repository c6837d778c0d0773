"""Workflows for n8n: a webhook that starts one node, and that node's OpenAI part.

In each of them the node that talks to OpenAI bears the name `OpenAI`, so that a test can find it in what
n8n's public API says of the workflow.
"""

import json
import uuid
from dataclasses import dataclass

NODE = "OpenAI"
BY_HAND = "By hand"
BASE = "n8n-nodes-base"
LANGCHAIN = "@n8n/n8n-nodes-langchain"
MODEL = "gpt-4o-mini"
INSTRUCT = "gpt-3.5-turbo-instruct"
# Stands in a workflow that calls another one, until n8n has given that one its id.
CALLEE = "the-id-of-the-callee"


@dataclass(frozen=True)
class Setting:
    """What a workflow is made for: the release that it shall run in, and what its nodes are to use."""

    major: int
    credential: object
    # The address and the key of nodes that take neither from a credential.
    base: str
    key: str
    # A credential that leads past keyward, for nodes beside the one of interest.
    aside: object = None


@dataclass(frozen=True)
class Draft:
    """A workflow that n8n does not have yet, and the one that it calls, if it calls one."""

    webhook: str
    definition: dict
    callee: dict = None


# === The first OpenAI node of n8n, from before it had agents ===


def legacy_chat(setting):
    prompt = {"messages": [{"role": "user", "content": "hi"}]}
    return _legacy(setting, resource="chat", operation="complete", chatModel=MODEL, prompt=prompt)


def legacy_chat_also_by_hand(setting):
    """The same, which can also be run from the editor."""
    draft = legacy_chat(setting)
    draft.definition["nodes"].append(_node(BY_HAND, f"{BASE}.manualTrigger", 1, {}))
    draft.definition["connections"][BY_HAND] = {"main": [[{"node": NODE, "type": "main", "index": 0}]]}
    return draft


def legacy_text(setting):
    return _legacy(setting, resource="text", operation="complete", model=INSTRUCT, prompt="hi")


def legacy_image(setting):
    picture = {"prompt": "a cat", "imageModel": "dall-e-3", "responseFormat": "binaryData"}
    return _legacy(setting, resource="image", operation="create", **picture)


def _legacy(setting, **parameters):
    return _draft(_node(NODE, f"{BASE}.openAi", 1.1, {**parameters, "options": {}}, setting.credential))


# === The OpenAI node of the LangChain package ===


def vendor_message(setting):
    if setting.major < 2:
        return vendor_message_of_n8n_1(setting)
    messages = {"values": [{"content": "hi", "role": "user"}]}
    parameters = {"modelId": _choice(MODEL), "responses": messages, "builtInTools": {}, "options": {}}
    return _vendor(setting, resource="text", operation="response", **parameters)


def vendor_message_of_n8n_1(setting):
    """As n8n 1 makes it, and as it stays when n8n is upgraded."""
    messages = {"values": [{"content": "hi", "role": "user"}]}
    parameters = {"modelId": _choice(MODEL), "messages": messages, "simplify": True, "options": {}}
    return _draft(_vendor_node(setting, 1.8, resource="text", operation="message", **parameters))


def vendor_classify(setting):
    return _vendor(setting, resource="text", operation="classify", input="hi", simplify=False, options={})


def vendor_image(setting):
    model = {"model": "dall-e-3"} if setting.major < 2 else {"modelId": _choice("dall-e-3")}
    return _vendor(setting, resource="image", operation="generate", prompt="a cat", options={}, **model)


def vendor_image_analysis(setting):
    # The image is not fetched: its address is passed on to OpenAI.
    picture = {"text": "what is it?", "inputType": "url", "imageUrls": "http://127.0.0.1:9/cat.png"}
    return _vendor(
        setting, resource="image", operation="analyze", modelId=_choice(MODEL), simplify=True, options={}, **picture
    )


def vendor_speech(setting):
    speech = {"model": "tts-1", "input": "hello", "voice": "alloy", "options": {}}
    return _vendor(setting, resource="audio", operation="generate", **speech)


def vendor_transcription(setting):
    return _with_file("talk.mp3", _vendor_node(setting, resource="audio", operation="transcribe", options={}))


def vendor_translation(setting):
    return _with_file("talk.mp3", _vendor_node(setting, resource="audio", operation="translate", options={}))


def vendor_upload(setting):
    return _with_file("note.txt", _vendor_node(setting, resource="file", operation="upload", options={}))


def vendor_files(setting):
    return _vendor(setting, resource="file", operation="list", options={})


def vendor_assistants(setting):
    return _draft(_vendor_node(setting, 1.8, resource="assistant", operation="list", simplify=True))


def vendor_assistant(setting):
    """The one operation of this node that calls the SDK."""
    words = {"assistantId": _choice("asst_fake"), "prompt": "define", "text": "hi", "options": {}}
    return _draft(_vendor_node(setting, 1.8, resource="assistant", operation="message", **words))


def _vendor(setting, **parameters):
    return _draft(_vendor_node(setting, **parameters))


def _vendor_node(setting, version=None, **parameters):
    version = version or (1.8 if setting.major < 2 else 2.3)
    return _node(NODE, f"{LANGCHAIN}.openAi", version, parameters, setting.credential)


def _with_file(name, node):
    """A node that is given a file of a few bytes."""
    field = {"id": "1", "name": "content", "value": "hello", "type": "string"}
    text = _node("Text", f"{BASE}.set", 3.4, {"assignments": {"assignments": [field]}, "options": {}})
    options = {"operation": "toText", "sourceProperty": "content", "options": {"fileName": name}}
    return _draft(text, _node("File", f"{BASE}.convertToFile", 1.1, options), node)


# === Nodes with a sub-node that talks to OpenAI ===


def agent(setting):
    return _draft(_agent(setting.major), sub_nodes=[(_chat_model(setting), "ai_languageModel")])


def streaming_agent(setting):
    """An Agent of n8n 2 that streams its answer out of the Responses API into the webhook's answer."""
    parameters = {"promptType": "define", "text": "hi", "options": {"enableStreaming": True}}
    sub_nodes = [(_responses_model(setting), "ai_languageModel")]
    return _draft(_node("Agent", f"{LANGCHAIN}.agent", 3, parameters), sub_nodes=sub_nodes, mode="streaming")


def chain(setting):
    return _draft(_chain(setting.major), sub_nodes=[(_chat_model(setting), "ai_languageModel")])


def chain_with_responses(setting):
    return _draft(_chain(setting.major), sub_nodes=[(_responses_model(setting), "ai_languageModel")])


def language_model(setting):
    """A model of completions, which goes to its own address whatever the credential says."""
    parameters = {"model": _choice(INSTRUCT), "options": {"baseURL": setting.base} if setting.base else {}}
    model = _node(NODE, f"{LANGCHAIN}.lmOpenAi", 1, parameters, setting.credential)
    return _draft(_chain(setting.major), sub_nodes=[(model, "ai_languageModel")])


def embeddings(setting):
    parameters = {"mode": "insert", "memoryKey": {"__rl": True, "mode": "id", "value": uuid.uuid4().hex}}
    store = _node("Store", f"{LANGCHAIN}.vectorStoreInMemory", 1.2, parameters)
    model = {"model": "text-embedding-3-small", "options": {}}
    data = {"jsonMode": "expressionData", "jsonData": "hello world", "options": {}}
    if setting.major >= 2:
        data["textSplittingMode"] = "simple"
    loader = _node("Loader", f"{LANGCHAIN}.documentDefaultDataLoader", 1 if setting.major < 2 else 1.1, data)
    sub_nodes = [
        (_node(NODE, f"{LANGCHAIN}.embeddingsOpenAi", 1.2, model, setting.credential), "ai_embedding"),
        (loader, "ai_document"),
    ]
    draft = _draft(store, sub_nodes=sub_nodes)
    if setting.major < 2:
        kind = f"{LANGCHAIN}.textSplitterRecursiveCharacterTextSplitter"
        _attach(draft.definition, _node("Splitter", kind, 1, {"options": {}}), "ai_textSplitter", loader)
    return draft


def _agent(major):
    options = {"promptType": "define", "text": "hi", "options": {} if major < 2 else {"enableStreaming": False}}
    return _node("Agent", f"{LANGCHAIN}.agent", 2 if major < 2 else 2.2, options)


def _chain(major):
    options = {"promptType": "define", "text": "hi"}
    return _node("Chain", f"{LANGCHAIN}.chainLlm", 1.6 if major < 2 else 1.7, options)


def _chat_model(setting, name=NODE, credential=None):
    parameters = {"model": _choice(MODEL), "options": {}}
    return _node(name, f"{LANGCHAIN}.lmChatOpenAi", 1.2, parameters, credential or setting.credential)


def _responses_model(setting):
    parameters = {"model": _choice(MODEL), "responsesApiEnabled": True, "builtInTools": {}, "options": {}}
    return _node(NODE, f"{LANGCHAIN}.lmChatOpenAi", 1.3, parameters, setting.credential)


# === HTTP Request ===


def http_request(setting):
    """An HTTP Request node that borrows the credential; its address is its own."""
    borrowed = {"authentication": "predefinedCredentialType", "nodeCredentialType": "openAiApi"}
    return _draft(_http_request(setting.base, borrowed, setting.credential))


def http_request_with_typed_key(setting):
    """An HTTP Request node with a key that was typed into a header."""
    header = {"name": "Authorization", "value": f"Bearer {setting.key}"}
    return _draft(_http_request(setting.base, {"sendHeaders": True, "headerParameters": {"parameters": [header]}}))


def http_request_without_key(setting):
    """An HTTP Request node without authentication."""
    return _draft(_http_request(setting.base, {}))


def _http_request(base, authentication, credential=None):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    parameters = {
        "method": "POST",
        "url": f"{base}/chat/completions",
        **authentication,
        "sendBody": True,
        "specifyBody": "json",
        "jsonBody": json.dumps(body),
        "options": {},
    }
    return _node(NODE, f"{BASE}.httpRequest", 4.2, parameters, credential)


# === Workflows that wait, or call another one ===


def waiting(setting):
    """A workflow that answers where it is to be woken, waits, and then asks OpenAI."""
    woken = "={{ { execution: $execution.id, resume: $execution.resumeUrl } }}"
    answer = _node("Answer", f"{BASE}.respondToWebhook", 1.1, {"respondWith": "json", "responseBody": woken})
    wait = _node("Wait", f"{BASE}.wait", 1.1, {"resume": "webhook", "options": {}})
    asks = legacy_chat(setting).definition["nodes"][-1]
    return _draft(answer, {**wait, "webhookId": str(uuid.uuid4())}, asks, mode="responseNode")


def sub_workflow(setting):
    """A workflow that has another one ask OpenAI."""
    return _draft(call_of(CALLEE), callee=_callee(setting))


def tool_workflow(setting):
    """An Agent with another workflow for a tool, which asks OpenAI.  The Agent itself asks past keyward."""
    sub_nodes = [
        (_chat_model(setting, "Model", setting.aside), "ai_languageModel"),
        (tool_of(CALLEE), "ai_tool"),
    ]
    return _draft(_agent(setting.major), sub_nodes=sub_nodes, callee=_callee(setting))


def call_of(workflow):
    """A node that calls another workflow."""
    call = {"workflowId": _choice(workflow), "workflowInputs": _no_inputs(), "options": {}}
    return _node("Call", f"{BASE}.executeWorkflow", 1.2, call)


def tool_of(workflow):
    """A tool for an Agent, which is another workflow."""
    tool = {"description": "asks", "workflowId": _choice(workflow), "workflowInputs": _no_inputs()}
    return _node("ask", f"{LANGCHAIN}.toolWorkflow", 2.2, tool)


def _callee(setting):
    node = vendor_message(setting).definition["nodes"][-1]
    return _definition("Callee", [_called(), node])


def _called():
    """The beginning of a workflow that others call."""
    return _node("Called", f"{BASE}.executeWorkflowTrigger", 1.1, {"inputSource": "passthrough"})


def _no_inputs():
    return {"mappingMode": "defineBelow", "value": {}, "schema": [], "matchingColumns": []}


# === Several nodes in one workflow ===


def joined(name, parts, calls=None):
    """One workflow that does what several do, one after the other, started by a webhook as they are.

    Each part comes with the name that its OpenAI node is to bear.  Last, it calls the workflow `calls`, if there is one.
    """
    return _joined(name, _webhook("lastNode"), parts, calls)


def joined_to_be_called(name, parts):
    """The same, started by whatever workflow calls it."""
    return _joined(name, _called(), parts, None)


def _joined(name, start, parts, calls):
    nodes, connections, last = [start], {}, start["name"]
    for number, (title, draft) in enumerate(parts, 1):
        renamed = {node["name"]: f"{node['name']} ({number})" for node in draft.definition["nodes"]}
        renamed[NODE] = title
        whole = _rename(draft.definition, renamed)
        connections[last] = first = whole["connections"].pop(whole["nodes"][0]["name"])
        nodes += whole["nodes"][1:]
        connections.update(whole["connections"])
        last = _end(first["main"][0][0]["node"], connections)
    if calls:
        nodes.append(call_of(calls))
        connections[last] = {"main": [[{"node": "Call", "type": "main", "index": 0}]]}
    # One item is enough for each of them, and one that gives none does not keep the next from running.
    steps = [{**node, "executeOnce": True, "alwaysOutputData": True} for node in nodes[1:]]
    return {**_definition(name, []), "nodes": [start, *steps], "connections": connections}


def _rename(definition, names):
    """A workflow with other names for its nodes."""
    nodes = [{**node, "name": names[node["name"]]} for node in definition["nodes"]]

    def moved(kinds):
        return {kind: [[{**to, "node": names[to["node"]]} for to in out] for out in outs] for kind, outs in kinds.items()}

    connections = {names[source]: moved(kinds) for source, kinds in definition["connections"].items()}
    return {**definition, "nodes": nodes, "connections": connections}


def _end(name, connections):
    """The last of the steps that follow one another from that one."""
    while following := connections.get(name, {}).get("main"):
        name = following[0][0]["node"]
    return name


# === Parts ===


def _draft(*steps, sub_nodes=(), mode="lastNode", callee=None):
    """A webhook, then the steps one after another; the sub-nodes are the last one's."""
    webhook = _webhook(mode)
    path, nodes = webhook["parameters"]["path"], [webhook, *steps]
    definition = _definition(steps[-1]["name"], nodes)
    for sub_node, kind in sub_nodes:
        _attach(definition, sub_node, kind, steps[-1])
    return Draft(path, definition, callee)


def _webhook(mode):
    parameters = {"path": uuid.uuid4().hex, "httpMethod": "POST", "responseMode": mode, "options": {}}
    return {**_node("Webhook", f"{BASE}.webhook", 2, parameters), "webhookId": str(uuid.uuid4())}


def _definition(name, nodes):
    connections = {
        source["name"]: {"main": [[{"node": target["name"], "type": "main", "index": 0}]]}
        for source, target in zip(nodes, nodes[1:])
    }
    return {"name": name, "nodes": nodes, "connections": connections, "settings": {"executionOrder": "v1"}}


def _attach(definition, sub_node, kind, to):
    """Adds a sub-node to one of a workflow's nodes."""
    definition["nodes"].append(sub_node)
    definition["connections"][sub_node["name"]] = {kind: [[{"node": to["name"], "type": kind, "index": 0}]]}


def _node(name, kind, version, parameters, credential=None):
    node = {
        "id": str(uuid.uuid4()),
        "name": name,
        "type": kind,
        "typeVersion": version,
        "position": [0, 0],
        "parameters": parameters,
    }
    if credential:
        node["credentials"] = {"openAiApi": {"id": credential.id, "name": credential.name}}
    return node


def _choice(value):
    """A value chosen from a list in the editor."""
    return {"__rl": True, "mode": "list", "value": value}
