"""What has to be the same with keyward and without it: what the client hands to its user, and what reaches upstream.

Ids, times and boundaries are made up anew in each run.  An id is replaced by its number among those of its run, so
that one that stands in two places has to stand in both of them again.
"""

import hashlib
import json
import re

# These belong to one connection or to the moment, and to no client (RFC 9110, 7.6.1).
OF_A_CONNECTION = {
    "connection",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-accept",
    "date",
}
CREDENTIALS = {"authorization", "sec-websocket-protocol"}
KEYWARDS = re.compile(r"x-keyward-")

MADE_UP = re.compile(
    r"\b(?:chatcmpl|resp|msg|call|rs|file|batch|req|fc|ig|item|event|evt|sess|modr|run)[-_][A-Za-z0-9_-]{9,}"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
)
TIMES = re.compile(r'("(?:created|[a-z_]+_at)\\?": ?)\d+')
BOUNDARY = re.compile(r"boundary=\"?([^\";]+)")


class Evidence:
    """What one run of a case came to, ready to be compared with another's."""

    def __init__(self, outcome, received, journal):
        self._names = {}
        self.requests = [self._request(request) for request in received]
        self.journal = [self._entry(entry) for entry in journal]
        self.outcome = self._settled(json.dumps(_sorted_head(outcome), sort_keys=True))

    def _request(self, request):
        body, kind = request.body, "".join(request.values("content-type"))
        boundary = BOUNDARY.search(kind)
        if boundary:
            body = body.replace(boundary[1].encode(), b"BOUNDARY")
        elif "json" in kind:
            body = self._settled(body.decode()).encode()
        headers = [(name, BOUNDARY.sub("boundary=BOUNDARY", value)) for name, value in request.headers]
        return {
            "method": request.method,
            "target": self._settled(request.target),
            "headers": _end_to_end(headers),
            "body": f"{len(body)} bytes, SHA-256 {hashlib.sha256(body).hexdigest()}",
            "whole": request.whole,
            "status": request.status,
        }

    def _entry(self, entry):
        headers = [(name, BOUNDARY.sub("boundary=BOUNDARY", value)) for name, value in entry["headers"].items()]
        told = {
            "method": entry["method"],
            "path": entry["path"],
            # It makes up a request's id where none came.
            "headers": [pair for pair in _end_to_end(headers) if pair[0] != "x-request-id"],
            "body": entry["body"],
            "status": entry["response"]["status"],
        }
        return json.loads(self._settled(json.dumps(told)))

    def _settled(self, text):
        text = MADE_UP.sub(lambda found: self._names.setdefault(found[0], f"<{len(self._names)}>"), text)
        return TIMES.sub(r"\1<time>", text)


def _end_to_end(headers):
    """The headers that are the client's own, in an order that no protocol can change."""
    dropped = OF_A_CONNECTION | CREDENTIALS
    return sorted((name.lower(), value) for name, value in headers if name.lower() not in dropped)


def _sorted_head(outcome):
    """What a client shows of an answer's head, without what keyward says of itself."""
    result = outcome.get("result")
    if not isinstance(result, dict) or "headers" not in result:
        return outcome
    headers = [(name, value) for name, value in _end_to_end(result["headers"]) if not KEYWARDS.match(name)]
    return {"result": {**result, "headers": headers}}


def difference(seen, wanted):
    """Where two texts part, or nothing."""
    if seen == wanted:
        return None
    at = next((at for at, pair in enumerate(zip(seen, wanted)) if pair[0] != pair[1]), min(len(seen), len(wanted)))
    begin = max(at - 80, 0)
    return f"…{seen[begin : at + 160]}…\n    and not …{wanted[begin : at + 160]}…"
