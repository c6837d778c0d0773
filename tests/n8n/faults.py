"""Every bad key that n8n can send, in every sort of node: refused by its name at the first attempt, and n8n shows why.

Of a redirect, which makes some nodes drop the key, `situations.py` tells.
"""

import json
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import kinds
import workflows
from expect import Expect, shown, whose
from stage import TAG_HEADER, TWO_SETS, Trial, new_key

# What n8n's own blank for a hidden value looks like, when an exported credential is imported as it is.
BLANK = "__n8n_BLANK_VALUE_e5362baf-c777-4d57-a609-6eaf1f9e87f6"
# The node fails in n8n, before there is a request.
NOTHING = "nothing is sent"
TRIED = [
    kind
    for kind in kinds.ALL
    if kind.draft
    in (
        workflows.legacy_chat,
        workflows.vendor_message,
        workflows.agent,
        workflows.chain,
        workflows.embeddings,
        workflows.http_request,
    )
]


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong with a credential, and what comes of it."""

    title: str
    # A function of the stage that gives what the credential has in place of what is right.
    holds: object
    # The diagnosis, or `NOTHING`, of n8n's own requests and of those of the SDK: one for all releases, or one for each
    # major release. None leaves these nodes out.
    of_n8n: object
    of_sdk: object
    # The keyward that it goes through, and what it answers.
    through: str = "enforce"
    status: int = 401
    # The set by which it is judged.
    set: str = "default"
    # How the credential is tagged; by default as docs/connect-n8n.md recommends for the release.
    way: str = None
    # A function of the stage that gives the address of a node with one of its own, where the plain one will not do.
    base: object = None
    # Whether a new record holds it: an edit of one would do something else.
    is_new_record: bool = False

    def of(self, kind, major):
        """What comes of it in one kind of node."""
        wanted = self.of_sdk if kind.client == "sdk" else self.of_n8n
        return wanted[major] if isinstance(wanted, dict) else wanted


def of(major):
    """The faults that a major release of n8n knows."""
    return [*OF_KEYS, *(OF_HEADERS if major >= 2 else []), *of_sets(major)]


# === What stands in the field of the key ===


def _key(title, value, of_n8n, of_sdk=None, **other):
    """`value` gives what stands there, of the key that should."""
    return Fault(title, lambda stage: {"apiKey": value(stage.current)}, of_n8n, of_sdk or of_n8n, **other)


OF_KEYS = [
    _key("nothing", lambda key: "", "malformed_empty", {1: "malformed_empty", 2: NOTHING}),
    _key("a space", lambda key: " ", "malformed_empty"),
    _key("a space, then the key", lambda key: f" {key}", "malformed_whitespace"),
    _key("the key and a no-break space", lambda key: f"{key}\u00a0", "malformed_whitespace"),
    _key("the key in quotes", lambda key: f'"{key}"', "malformed_quoted"),
    _key("Bearer and the key", lambda key: f"Bearer {key}", "malformed_doubled"),
    _key("undefined", lambda key: "={{ undefined }}", {1: "malformed_empty", 2: "malformed_undefined"}, NOTHING),
    _key("null", lambda key: "={{ null }}", {1: "malformed_empty", 2: "malformed_null"}, NOTHING),
    # The SDK's nodes of n8n 2 send nothing then, and the embeddings take minutes to say so.
    _key("an object", lambda key: "={{ ({ key: 1 }) }}", "malformed_object", {1: "malformed_object", 2: None}),
    _key("an example", lambda key: "YOUR_API_KEY", "malformed_placeholder"),
    # An edit would keep the key that was there; a new record takes the blank for one.
    _key("n8n's own blank", lambda key: BLANK, "malformed_placeholder", is_new_record=True),
    _key("an address", lambda key: "https://api.openai.com/v1", "malformed_url"),
    _key("a hundred keys", lambda key: key * 100, "malformed_oversized"),
    _key("a key that no set has", lambda key: new_key(), "unlisted_key"),
    Fault("an old key", lambda stage: {"apiKey": stage.previous}, "stale_binding", "stale_binding"),
    _key("a space behind the key, which is no fault", lambda key: f"{key} ", "ok"),
]


# === What n8n 2 lets the credential send besides ===


def _header(title, name, value, diagnosis):
    """`value` gives what the header has, of the stage."""
    return Fault(title, lambda stage: _only_header(name, value(stage)), diagnosis, diagnosis, way="path")


def _only_header(name, value):
    """There is room for one header, so that the tag has to stand in the Base URL."""
    return {"header": True, "headerName": name, "headerValue": value}


OF_HEADERS = [
    _header("the key in a header, without Bearer", "Authorization", lambda stage: stage.current, "malformed_scheme"),
    _header("another key in `api-key`", "api-key", lambda stage: new_key(), "malformed_duplicate"),
    # Only where keyward puts a key in does it matter who sends a browser.
    Fault(
        "a token, and a page in `Origin`",
        lambda stage: {"apiKey": stage.tokens["inject"], **_only_header("Origin", "https://page.example")},
        "origin_not_allowed",
        "origin_not_allowed",
        through="inject",
        status=403,
        way="path",
    ),
]


# === What the credential declares ===


def of_sets(major):
    """A set that is not the key's, and one that there is not, declared in each way that the release has."""
    ways = ("path",) if major < 2 else ("path", "tag")
    wrong = [_set(f"the key of another set, by {way}", "staging", "wrong_set", way) for way in ways]
    unclear = [_set(f"a token of a set that there is not, by {way}", "nowhere", "unclear_set", way) for way in ways]
    return [*wrong, *unclear]


def _set(title, name, diagnosis, way):
    def base(stage):
        return stage.tagged_base(TWO_SETS).replace("/n8n/", f"/set/{name}/n8n/")

    def holds(stage):
        declared = {"url": base(stage)} if way == "path" else {"headerValue": f"{TAG_HEADER['headerValue']};set={name}"}
        return declared if diagnosis == "wrong_set" else {**declared, "apiKey": stage.tokens[TWO_SETS]}

    other = {"base": base} if way == "path" else {}
    judged_by = name if diagnosis == "wrong_set" else "default"
    return Fault(title, holds, diagnosis, diagnosis, through=TWO_SETS, set=judged_by, way=way, **other)


# === The trial ===


def try_kinds(stage, fault):
    """Has all kinds of nodes run with it at the same time.  Gives what differs for each, by the kind's title."""
    way = fault.way or list(stage.taggings())[-1]
    data = stage.taggings()[way](fault.through, **fault.holds(stage))
    tried = [kind for kind in TRIED if fault.of(kind, stage.major)]
    made = [_workflow(stage, fault, kind, data) for kind in tried]
    if not fault.is_new_record:
        stage.edit(data)
    with ThreadPoolExecutor(len(tried)) as pool:
        runs = list(pool.map(stage.n8n.run, made))
    lines = sum(fault.of(kind, stage.major) != NOTHING for kind in tried)
    exchanges, received = stage.news(fault.through, lines)
    results = {}
    for kind, workflow, run in zip(tried, made, runs):
        own = [exchange for exchange in exchanges if exchange.get("workflow_id") == workflow.sender]
        trial, expect = Trial(run, own, received), Expect()
        try:
            _hold(stage, expect, trial, workflow, (fault, kind, way))
        except Exception:
            expect.differences.append(traceback.format_exc().rstrip())
        results[kind.title] = expect.differences
    total = Expect()
    total.equal("the number of requests", len(exchanges), lines)
    return {**results, "all of them": total.differences}


def _workflow(stage, fault, kind, data):
    if fault.is_new_record:
        return stage.another(kind.draft, data, fault.through)
    return stage.workflow(kind, fault.through, base=fault.base and fault.base(stage))


def _hold(stage, expect, trial, workflow, row):
    fault, kind, way = row
    wanted = fault.of(kind, stage.major)
    seen = [exchange["diagnosis"] for exchange in trial.exchanges] or [NOTHING]
    expect.equal("what keyward says", seen, [wanted])
    if seen != [wanted]:
        return
    if wanted == NOTHING:
        expect.failure(trial)
        return
    attribution = "path" if fault.base and kind.own else kind.known_by[way]
    expect.exchange(trial, set=fault.set, client=kind.client, attribution=attribution)
    expect.exchange(trial, **whose(workflow, trial, attribution))
    if wanted == "ok":
        expect.exchange(trial, verdict="current", action="forward", status=200)
        expect.success(trial, kind.speaks)
        return
    expect.exchange(trial, verdict=_verdict(wanted), action="refuse", status=fault.status)
    expect.refused(trial)
    expect.equal("where n8n shows it", shown(trial), kind.shown[stage.major])
    expect.true("the execution shows no key", stage.current not in json.dumps(trial.execution))


def _verdict(diagnosis):
    """What each of these diagnoses is made of."""
    of_others = {"unlisted_key": "unknown", "stale_binding": "outdated", "wrong_set": "foreign"}
    return of_others.get(diagnosis) or ("malformed" if diagnosis.startswith("malformed_") else "token")
