"""Workflows for n8n: a webhook that starts one node, and that node's OpenAI part.

In each of them the node that talks to OpenAI bears the name `OpenAI`, so that a test can find it in what
n8n's public API says of the workflow.
"""

import json
import uuid
from dataclasses import dataclass

NODE = "OpenAI"
BASE = "n8n-nodes-base"
LANGCHAIN = "@n8n/n8n-nodes-langchain"
MODEL = "gpt-4o-mini"


@dataclass(frozen=True)
class Draft:
    """A workflow that n8n does not have yet."""

    webhook: str
    definition: dict


def legacy(credential):
    """The first OpenAI node of n8n, from before it had agents."""
    prompt = {"messages": [{"role": "user", "content": "hi"}]}
    parameters = {"resource": "chat", "operation": "complete", "chatModel": MODEL, "prompt": prompt}
    return _draft("Legacy", [_node(NODE, f"{BASE}.openAi", 1.1, parameters, credential)])


def agent(credential):
    """An Agent with the OpenAI chat model as its sub-node."""
    model = {"model": _choice(MODEL), "options": {}}
    return _draft(
        "Agent",
        [_node("Agent", f"{LANGCHAIN}.agent", 2, {"promptType": "define", "text": "hi", "options": {}})],
        _node(NODE, f"{LANGCHAIN}.lmChatOpenAi", 1.2, model, credential),
    )


def streaming_agent(credential):
    """An Agent of n8n 2 that streams its answer out of the Responses API into the webhook's answer."""
    parameters = {"promptType": "define", "text": "hi", "options": {"enableStreaming": True}}
    model = {"model": _choice(MODEL), "responsesApiEnabled": True, "builtInTools": {}, "options": {}}
    return _draft(
        "Streaming agent",
        [_node("Agent", f"{LANGCHAIN}.agent", 3, parameters)],
        _node(NODE, f"{LANGCHAIN}.lmChatOpenAi", 1.3, model, credential),
        mode="streaming",
    )


def http_request(credential, url):
    """An HTTP Request node that borrows the credential; its address is its own."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    parameters = {
        "method": "POST",
        "url": f"{url}/chat/completions",
        "authentication": "predefinedCredentialType",
        "nodeCredentialType": "openAiApi",
        "sendBody": True,
        "specifyBody": "json",
        "jsonBody": json.dumps(body),
        "options": {},
    }
    return _draft("HTTP Request", [_node(NODE, f"{BASE}.httpRequest", 4.2, parameters, credential)])


def _draft(name, steps, sub_node=None, mode="lastNode"):
    """A webhook, then the steps one after another; the sub-node is the last one's language model."""
    path = uuid.uuid4().hex
    webhook = {"path": path, "httpMethod": "POST", "responseMode": mode, "options": {}}
    nodes = [{**_node("Webhook", f"{BASE}.webhook", 2, webhook), "webhookId": str(uuid.uuid4())}, *steps]
    connections = {
        source["name"]: {"main": [[{"node": target["name"], "type": "main", "index": 0}]]}
        for source, target in zip(nodes, nodes[1:])
    }
    if sub_node:
        kind = "ai_languageModel"
        target = {"node": steps[-1]["name"], "type": kind, "index": 0}
        connections[sub_node["name"]] = {kind: [[target]]}
        nodes.append(sub_node)
    settings = {"executionOrder": "v1"}
    return Draft(path, {"name": name, "nodes": nodes, "connections": connections, "settings": settings})


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
