"""What is tried with each client: one case is one job of its driver, under one set of circumstances."""

from dataclasses import dataclass
from typing import Callable

import clients

LIMITED = {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}
BROKEN = {"message": "The server had an error.", "type": "server_error", "code": None}
WRONG = {"message": "‘temperature’ is too high.", "type": "invalid_request_error", "code": "out_of_range"}


@dataclass(frozen=True)
class Case:
    """What a driver does, what the mock is made to do, and what keyward has to say of each exchange."""

    name: str
    does: str
    prepare: Callable = lambda mock: None
    # Those of its exchanges that are not `ok`.
    diagnoses: tuple = ()
    # The number of requests, where it is known.
    requests: int | None = None
    # How many seconds have to pass between the first request and the second at least.
    pause: float = 0
    # Whether the client ends a request before its answer is whole.
    leaves: bool = False
    # Whether the SDK throws, also without keyward.
    raises: bool = False
    # Whether keyward has to answer for upstream, which did not.
    unanswered: bool = False


def of(kind):
    """The cases for one kind of client."""
    plain = [Case(name, name) for name in clients.OF_ALL]
    more = [Case(name, name, **PECULIAR.get(name, {})) for name in clients.IN_ORDER if name in kind.more]
    return [
        *plain,
        *more,
        Case(
            "a request that is refused is not sent again",
            "refused_request",
            prepare=lambda mock: mock.fail_once(400, WRONG),
            diagnoses=("request_error",),
            raises=True,
            requests=1,
        ),
        Case(
            "429 with Retry-After is tried again",
            "fails_once",
            prepare=lambda mock: mock.fail_once(429, LIMITED),
            diagnoses=("rate_limited",),
            requests=2,
            pause=1,
        ),
        Case(
            "500 is tried again",
            "fails_once",
            prepare=lambda mock: mock.fail_once(500, BROKEN),
            diagnoses=("upstream_error",),
            requests=2,
        ),
        Case(
            "a connection without an answer",
            "dropped",
            diagnoses=("upstream_failed",) * kind.attempts,
            unanswered=True,
            raises=True,
            requests=kind.attempts,
        ),
        Case(
            "an answer that is late",
            "timed_out",
            diagnoses=("client_gone",) * kind.attempts_in_time,
            raises=True,
            requests=kind.attempts_in_time,
            leaves=True,
        ),
        Case(
            "a stream that the client leaves",
            "aborted",
            diagnoses=("client_gone",),
            requests=1,
            leaves=True,
        ),
    ]


def of_refusals(kind):
    """One for each route that OpenAI words its refusals in a manner of its own for."""
    names = ["chat", "responses", "embeddings", *(["models"] if "models" in kind.more else [])]
    return [Case(name, name, requests=1, raises=True) for name in names]


PECULIAR = {
    # It asks for a file that it has deleted.
    "files": {"diagnoses": ("request_error",)},
    "broken_off": {"diagnoses": ("upstream_failed",), "requests": 1},
}
