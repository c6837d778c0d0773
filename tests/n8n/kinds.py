"""Every kind of n8n's nodes that talks to OpenAI, and what keyward and n8n are to make of each."""

from dataclasses import dataclass, field

import workflows

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
# Where n8n shows the words of an answer that refuses, by the major release: in the headline of the error
# (`message`), below it (`description`), or among its details (`messages`).
DESCRIPTION = {"description"}
DETAILS = {"description", "messages"}


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of node, and the one operation of it."""

    title: str
    draft: object
    client: str
    # The path of its first request: one for all releases, or one for each major release.
    path: object
    shown: dict
    # The first major release that has it.
    since: int = 1
    # Whether the answer of the workflow has OpenAI's words in it; it may be a picture.
    speaks: bool = True
    # How many requests it sends when all is well.
    requests: int = 1
    # How keyward knows the sender, by the way of tagging the credential.
    known_by: dict = field(default_factory=lambda: {"path": "path", "tag": "tag"})
    # What the node has of its own, in place of the credential's: `base`, `key`.
    own: tuple = ()

    def path_in(self, major):
        return self.path if isinstance(self.path, str) else self.path[major]


def of(major):
    """The kinds that a major release has."""
    return [kind for kind in ALL if kind.since <= major]


def _both(places):
    return {1: places, 2: places}


def _legacy(title, draft, path, **other):
    return Kind(f"OpenAI, the built-in node: {title}", draft, "legacy", path, _both(DESCRIPTION), **other)


def _vendor(title, draft, path, **other):
    return Kind(f"OpenAI: {title}", draft, "vendor", path, _both(DETAILS), **other)


_CHAIN = _both(DETAILS)
_AGENT = {1: {"messages"}, 2: DETAILS}

ALL = [
    _legacy("chat", workflows.legacy_chat, CHAT),
    _legacy("text", workflows.legacy_text, "/v1/completions"),
    _legacy("image", workflows.legacy_image, "/v1/images/generations", speaks=False),
    _vendor("message a model", workflows.vendor_message, {1: CHAT, 2: RESPONSES}),
    _vendor("message a model, made with n8n 1", workflows.vendor_message_of_n8n_1, CHAT, since=2),
    _vendor("classify text", workflows.vendor_classify, "/v1/moderations", speaks=False),
    _vendor("generate an image", workflows.vendor_image, "/v1/images/generations", speaks=False),
    _vendor("analyze an image", workflows.vendor_image_analysis, {1: CHAT, 2: RESPONSES}),
    _vendor("generate audio", workflows.vendor_speech, "/v1/audio/speech", speaks=False),
    _vendor("transcribe a recording", workflows.vendor_transcription, "/v1/audio/transcriptions"),
    _vendor("translate a recording", workflows.vendor_translation, "/v1/audio/translations"),
    _vendor("upload a file", workflows.vendor_upload, "/v1/files"),
    _vendor("list files", workflows.vendor_files, "/v1/files"),
    _vendor("list assistants", workflows.vendor_assistants, "/v1/assistants?limit=100"),
    Kind(
        "OpenAI: message an assistant",
        workflows.vendor_assistant,
        "sdk",
        "/v1/threads/runs",
        _both({"message"}),
        requests=3,
    ),
    Kind("AI Agent", workflows.agent, "sdk", CHAT, _AGENT),
    Kind("AI Agent, streaming", workflows.streaming_agent, "sdk", RESPONSES, _AGENT, since=2),
    Kind("Basic LLM Chain", workflows.chain, "sdk", CHAT, _CHAIN),
    Kind("Basic LLM Chain, Responses API", workflows.chain_with_responses, "sdk", RESPONSES, _CHAIN, since=2),
    Kind(
        "Embeddings OpenAI",
        workflows.embeddings,
        "sdk",
        "/v1/embeddings",
        _both({"message", "description"}),
        speaks=False,
    ),
    Kind(
        "OpenAI Model, with a Base URL of its own",
        workflows.language_model,
        "sdk",
        "/v1/completions",
        _CHAIN,
        known_by={"path": "none", "tag": "tag"},
        own=("base",),
    ),
    Kind(
        "HTTP Request, with the credential",
        workflows.http_request,
        "http-request",
        CHAT,
        _both(DETAILS),
        # The node has its own address, so the Base URL does not reach it, and with it the node's id.
        known_by={"path": "organization", "tag": "tag"},
        own=("base",),
    ),
    Kind(
        "HTTP Request, with a typed key",
        workflows.http_request_with_typed_key,
        "http-request",
        CHAT,
        _both(DETAILS),
        known_by={"path": "none", "tag": "none"},
        own=("base", "key"),
    ),
    _vendor("in a sub-workflow", workflows.sub_workflow, {1: CHAT, 2: RESPONSES}),
    _vendor("in a workflow that is an Agent's tool", workflows.tool_workflow, {1: CHAT, 2: RESPONSES}),
]
