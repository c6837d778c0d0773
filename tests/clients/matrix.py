"""Each policy with each kind of credential: what the SDK throws, what reaches upstream, and what keyward says of it."""

from dataclasses import dataclass

import likeness
from cases import Case

# Without a case of its own, `chat`: what is refused must not be tried again, so the client's own retries stay on.
ASK = Case("chat", "chat")
# As n8n 2 words it; with a space behind it, Python's HTTP library refuses to send it.
EMPTY = "Bearer"


@dataclass(frozen=True)
class Expected:
    """What has to become of one credential under one policy."""

    verdict: str
    diagnosis: str
    action: str
    # The Authorization headers that upstream gets; None where it gets no request.
    sent: tuple | None
    # Whether upstream takes it.
    taken: bool = True


def credentials(stage, policy):
    """What a client may hold, by name, as a driver wants to hear it."""
    return {
        "the current key": {"key": stage.current},
        "an outdated key": {"key": stage.previous},
        "an unknown key": {"key": stage.stranger},
        "no key": {"authorization": None},
        "`Bearer undefined`": {"key": "undefined"},
        "an empty key": {"authorization": EMPTY},
        "a token": {"key": stage.mock.tokens[policy]},
    }


def expected(stage, policy):
    """The other half of that table."""
    current, previous = (f"Bearer {stage.current}",), (f"Bearer {stage.previous}",)
    token = (f"Bearer {stage.mock.tokens[policy]}",)
    faults = {
        "an unknown key": ("unknown", "unknown_key_rejected", (f"Bearer {stage.stranger}",)),
        "no key": ("missing", "dropped_header", ()),
        "`Bearer undefined`": ("malformed", "malformed_undefined", ("Bearer undefined",)),
        "an empty key": ("malformed", "malformed_empty", (EMPTY,)),
    }
    table = {"the current key": Expected("current", "ok", "forward", current)}
    if policy == "observe":
        table["an outdated key"] = Expected("outdated", "stale_binding", "forward", previous)
        table["a token"] = Expected("token", "token_not_replaced", "forward", token, taken=False)
        for name, (verdict, diagnosis, sent) in faults.items():
            table[name] = Expected(verdict, diagnosis, "forward", sent, taken=False)
        return table
    # enforce has no grace here, and inject has one.
    late = Expected("outdated", "stale_binding", "inject", current)
    table["an outdated key"] = late if policy == "inject" else Expected("outdated", "stale_binding", "refuse", None)
    table["a token"] = Expected("token", "ok", "inject", current)
    for name, (verdict, diagnosis, _) in faults.items():
        # Of a key that does not go upstream, keyward knows only that no set has it.
        table[name] = Expected(verdict, diagnosis.replace("unknown_key_rejected", "unlisted_key"), "refuse", None)
    return table


def try_all(stage, version):
    """Yields what was tried and the differences that were found."""
    good = stage.run(ASK, stage.mock, None, {"key": stage.current}).evidence().outcome
    for policy in ("observe", "enforce", "inject"):
        wanted = expected(stage, policy)
        for name, credential in credentials(stage, policy).items():
            run = stage.run(ASK, stage.mock, policy, credential)
            differences = [*_of_outcome(stage, run, wanted[name], credential, good), *_of_wire(run, wanted[name])]
            differences += _of_log(run, wanted[name], version)
            yield f"{name} under {policy}", differences


def try_words(stage, cases):
    """What OpenAI says of a key that it refuses comes through word for word, but where keyward had put that key in."""
    for case in cases:
        for name, credential in credentials(stage, "observe").items():
            direct = stage.run(case, stage.stub, None, credential)
            through = stage.run(case, stage.stub, "observe", credential)
            differences = list(_alike(through, direct))
            if not _is_refusal(direct.outcome):
                differences.append(f"without keyward it came to {direct.outcome}")
            yield f"OpenAI's own words on {name} at {case.name}", differences
        # The stub takes neither key, so the one that keyward puts in is refused.
        run = stage.run(case, stage.stub, "inject", {"key": stage.stub.tokens["inject"]})
        yield f"a current key that OpenAI refuses, at {case.name}", list(_of_hidden_refusal(stage, run))


def _of_outcome(stage, run, wanted, credential, good):
    if wanted.taken and wanted.sent is not None:
        if found := likeness.difference(run.evidence().outcome, good):
            yield f"the client's user got {found}"
        return
    if wanted.sent is not None:
        yield from _alike(run, stage.run(ASK, stage.mock, None, credential))
        return
    if not _is_refusal(run.outcome):
        yield f"the client's user got {run.outcome}"
        return
    raised, message = run.outcome["raised"], run.outcome["raised"]["message"]
    if (raised["code"], raised["type"]) != (wanted.diagnosis, "keyward_refusal"):
        yield f"code and type of what the SDK throws are {raised['code']} and {raised['type']}"
    # keyward's words reach the person in front of the program: what happened, and what to do.
    for words in ("keyward refused it", "1. "):
        if words not in message:
            yield f"{words!r} is not in what the SDK says: {message}"
    if run.exchanges[0]["message"].split(".")[0] not in message:
        yield f"what the log says is not in what the SDK says: {message}"
    if _shows(stage.current, message):
        yield "the SDK shows what the current key ends in"


def _of_hidden_refusal(stage, run):
    if not _is_refusal(run.outcome):
        yield f"the client's user got {run.outcome}"
    if _shows(stage.current, str(run.outcome)):
        yield "the SDK shows what the current key ends in"
    for line in run.exchanges:
        told = {field: line.get(field) for field in ("verdict", "diagnosis", "action", "status")}
        if told != {"verdict": "token", "diagnosis": "current_key_rejected", "action": "inject", "status": 401}:
            yield f"the log says {line}"
    yield from _once(run)


def _alike(run, direct):
    seen, other = run.evidence(), direct.evidence()
    if found := likeness.difference(seen.outcome, other.outcome):
        yield f"the client's user got {found}"
    for requests in (seen.requests, other.requests):
        for request in requests:
            # Upstream refuses as soon as it has the head. Who learns of that in time sends no more of the body.
            if not request.pop("whole"):
                del request["body"]
    for one, two in zip(seen.requests, other.requests, strict=True):
        shared = one.keys() & two.keys()
        if {field: one[field] for field in shared} != {field: two[field] for field in shared}:
            yield f"upstream got {one}, without keyward {two}"
    if [request.values("authorization") for request in run.received] != [
        request.values("authorization") for request in direct.received
    ]:
        yield "upstream got another credential than without keyward"


def _of_wire(run, wanted):
    if wanted.sent is None:
        if run.received:
            yield f"{len(run.received)} requests reached upstream"
        return
    # The difference itself would show the key.
    for request in run.received:
        if tuple(request.values("authorization")) != wanted.sent:
            yield "upstream got another credential than it should"
    if len(run.received) != 1:
        yield f"{len(run.received)} requests reached upstream"


def _of_log(run, wanted, version):
    yield from _once(run)
    line = run.exchanges[0]
    fields = {
        "verdict": wanted.verdict,
        "diagnosis": wanted.diagnosis,
        "action": wanted.action,
        "client": "sdk",
        "client_version": version,
        "status": 200 if wanted.taken and wanted.sent is not None else 401,
    }
    for field, value in fields.items():
        if line.get(field) != value:
            yield f"{field} in the log is {line.get(field)!r}, not {value!r}: {line}"
    if (line["diagnosis"] != "ok") != bool(line.get("remedy")):
        yield f"the log has a remedy with {line['diagnosis']}, or none"


def _once(run):
    if len(run.exchanges) != 1:
        yield f"it was tried {len(run.exchanges)} times"


def _shows(key, text):
    """Whether a text has the end of a key, in keyward's manner or in OpenAI's."""
    return f"…{key[-4:]}" in text or f"*{key[-4:]}" in text


def _is_refusal(outcome):
    raised = outcome.get("raised", {})
    return raised.get("class") == "AuthenticationError" and raised.get("status", raised.get("status_code")) == 401
