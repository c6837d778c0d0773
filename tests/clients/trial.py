"""Each case without keyward and through it, under each policy: nothing may differ but what keyward is there for."""

import likeness
from cases import Case

# What the client holds under each policy, and what keyward has to say of that.
WAYS = {
    "observe": {"verdict": "current", "action": "forward"},
    "enforce": {"verdict": "current", "action": "forward"},
    "inject": {"verdict": "token", "action": "inject"},
}
PROTOCOL = "openai-insecure-api-key."


def try_case(stage, case, version, side=None):
    """Yields what was tried and the differences that were found, once for each policy."""
    side = side or stage.mock
    direct = stage.run(case, side, None, {"key": stage.current})
    wrong = list(_unexpected(case, direct))
    for policy, wanted in WAYS.items():
        held = side.tokens[policy] if policy == "inject" else stage.current
        through = stage.run(case, side, policy, {"key": held})
        wanted = {**wanted, "client": "sdk", "client_version": version}
        differences = _differences(case, direct, through, wanted)
        yield f"{case.name} under {policy}", [*wrong, *differences, *_keys(through, stage.current)]


def try_subprotocol(stage):
    """A key in a subprotocol, as a browser sends it: node's WebSocket sends no header of the SDK's.

    Where keyward puts the key in, it stands in the header, and no longer in the subprotocol.
    """
    case, side = Case("realtime", "realtime_subprotocol", requests=1), stage.realtime
    direct = stage.run(case, side, None, {"key": stage.current})
    wrong = list(_unexpected(case, direct))
    for policy, wanted in WAYS.items():
        held = side.tokens[policy] if policy == "inject" else stage.current
        through = stage.run(case, side, policy, {"key": held})
        differences = [*wrong, *_differences(case, direct, through, {**wanted, "client": "other"})]
        if policy == "inject":
            differences += [*_subprotocols(through, "realtime"), *_keys(through, stage.current)]
        else:
            differences += _subprotocols(through, f"realtime, {PROTOCOL}{stage.current}")
        yield f"{'a token' if policy == 'inject' else 'the current key'} in a subprotocol under {policy}", differences
    yield from _try_bad_subprotocols(stage, side)


def _try_bad_subprotocols(stage, side):
    """What upstream refuses comes through as it is; what keyward refuses never gets there.

    node's WebSocket asks once more after any 401.
    """
    refused = Case(
        "realtime", "realtime_subprotocol", requests=2, raises=True, diagnoses=("unknown_key_rejected",) * 2
    )
    direct = stage.run(refused, side, None, {"key": stage.stranger})
    through = stage.run(refused, side, "observe", {"key": stage.stranger})
    wanted = {"verdict": "unknown", "action": "forward", "client": "other", "status": 401}
    differences = [*_unexpected(refused, direct), *_differences(refused, direct, through, wanted)]
    yield "an unknown key in a subprotocol under observe", differences
    for name, key, verdict, diagnosis in (
        ("an outdated key", stage.previous, "outdated", "stale_binding"),
        ("an unknown key", stage.stranger, "unknown", "unlisted_key"),
        ("`undefined`", "undefined", "malformed", "malformed_undefined"),
    ):
        run = stage.run(refused, side, "enforce", {"key": key})
        fields = ("verdict", "diagnosis", "action", "status")
        told = [tuple(line.get(field) for field in fields) for line in run.exchanges]
        differences = [] if "raised" in run.outcome else [f"the client's user got {run.outcome}"]
        if told != [(verdict, diagnosis, "refuse", 401)] * 2:
            differences.append(f"the log says {told}")
        if run.received:
            differences.append(f"{len(run.received)} requests reached upstream")
        yield f"{name} in a subprotocol under enforce", differences


def _subprotocols(run, wanted):
    # The difference itself would show the key.
    if [request.values("sec-websocket-protocol") for request in run.received] != [[wanted]]:
        yield "upstream got other subprotocols than it should"


def try_upload_in_parts(stage, version):
    """20 MiB in three parts. Each byte has to arrive in its place."""
    case = Case("an upload in parts", "upload_in_parts", requests=6)
    yield from try_case(stage, case, version, stage.parts)


def try_huge_upload(stage, version):
    """64 MiB. Each byte has to arrive."""
    case = Case("64 MiB", "huge_upload")
    direct = stage.run(case, stage.stub, None, {"key": stage.stub_key})
    through = stage.run(case, stage.stub, "observe", {"key": stage.stub_key})
    wanted = {"verdict": "unknown", "action": "forward", "client": "sdk", "client_version": version}
    case = Case("64 MiB", "huge_upload", diagnoses=("unlisted_key",))
    differences = [*_unexpected(case, direct), *_differences(case, direct, through, wanted)]
    length = direct.outcome.get("result", {}).get("bytes", 0)
    if length < 64 << 20:
        differences.append(f"only {length} bytes were sent")
    yield "an upload of 64 MiB under observe", [*differences, *_keys(through, stage.stub_key)]


def of_protocol(stage):
    """Whether the client and keyward speak what they are here to speak."""
    run = stage.run(Case("protocol", "protocol"), stage.mock, "observe", {"key": stage.current})
    spoken = run.outcome.get("result")
    return [] if spoken in (["HTTP/2", "h2"] if stage.kind.tls else ["HTTP/1.1", "h1"]) else [f"it is {spoken}"]


def of_logs(stage):
    """Whether each line was looked at: one that came late would be of an unknown attempt."""
    stage.driver.stop()
    for side in stage.sides:
        for policy, proxy in side.keywards.items():
            if proxy.stop() != 0:
                yield f"keyward under {policy} did not end well"
            if len(proxy.exchanges()) != side.seen.get(policy, 0):
                yield f"under {policy} there are {len(proxy.exchanges())} lines, and not {side.seen.get(policy, 0)}"


def of_secrets(stage):
    """Where a key or token, or any part of it that one could recognise, was written down."""
    secrets = [secret.removeprefix("sk-proj-").removeprefix("kw_") for secret in stage.secrets()]
    parts = [secret[at : at + 8].encode() for secret in secrets for at in range(len(secret) - 7)]

    def has_one(text):
        return any(part in text for part in parts)

    for path in stage.folder.rglob("*"):
        # keyward is given its keys in these two, which shows that they would be found elsewhere.
        expected = path.name in ("current-key", "previous-key")
        if path.is_file() and has_one(path.read_bytes()) != expected:
            yield f"there is {'none' if expected else 'one'} in {path.relative_to(stage.folder)}"
    if has_one("\n".join(stage.told).encode()):
        yield "there is one in what an SDK threw"


def _unexpected(case, direct):
    """What is not as it should be where there is no keyward: then likeness would say nothing."""
    if ("raised" in direct.outcome) != case.raises:
        yield f"without keyward it came to {str(direct.outcome)[:400]}"
    if case.requests not in (None, len(direct.received)) or not direct.received:
        yield f"without keyward there were {len(direct.received)} requests, not {case.requests}"


def _differences(case, direct, through, wanted):
    seen, other = through.evidence(), direct.evidence()
    yield from _of_outcomes(case, through, seen, other)
    yield from _of_what_arrived("requests", seen.requests, other.requests)
    yield from _of_what_arrived("journal", seen.journal, other.journal)
    if case.leaves and not all(request.cancelled for request in through.received):
        yield "upstream was not told that the client left"
    if case.pause and through.received[1].began - through.received[0].began < case.pause:
        yield f"it was tried again after less than {case.pause} s"
    yield from _of_lines(case, through, wanted)


def _of_outcomes(case, through, seen, other):
    if not case.unanswered:
        if found := likeness.difference(seen.outcome, other.outcome):
            yield f"the client's user got {found}"
        return
    raised = through.outcome.get("raised", {})
    told = raised.get("status", raised.get("status_code")), raised.get("code")
    if told != (502, "upstream_failed") or "ended the connection before its answer" not in raised["message"]:
        yield f"the client's user got {raised}"


def _of_what_arrived(what, seen, other):
    if len(seen) != len(other):
        yield f"{len(seen)} in {what}, without keyward {len(other)}"
    for number, (one, two) in enumerate(zip(seen, other)):
        for field in one:
            if one[field] != two[field]:
                yield f"{field} in {what}[{number}] is {one[field]!r}, without keyward {two[field]!r}"


def _keys(through, key):
    # The difference itself would show the key.
    if any(request.values("authorization") != [f"Bearer {key}"] for request in through.received):
        yield "upstream got another key than it should, or several"


def _of_lines(case, through, wanted):
    lines = through.exchanges
    if len(lines) != len(through.received):
        yield f"{len(lines)} lines in keyward's log of {len(through.received)} requests"
    for line in lines:
        for field, value in wanted.items():
            if line.get(field) != value:
                yield f"{field} in the log is {line.get(field)!r}, not {value!r}: {line}"
    # Two workers may write two lines in either order.
    diagnoses = sorted(line["diagnosis"] for line in lines)
    if diagnoses != sorted((*case.diagnoses, *("ok",) * (len(lines) - len(case.diagnoses)))):
        yield f"the diagnoses are {', '.join(diagnoses)}"
