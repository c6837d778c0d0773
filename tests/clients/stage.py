"""Everything that one kind of client is tried with: its driver, and upstreams with a tap and keywards before each."""

import secrets
from dataclasses import dataclass

import clients
import keyward
import likeness
import mock
import processes
import stub
import tap

TLS = """
[tls]
cert = "{0}"
key = "{1}"
"""
# A previous key has a grace under one of the two policies that act, and none under the other.
GRACES = {"observe": "24h", "enforce": "0s", "inject": "24h"}


@dataclass(frozen=True)
class Run:
    """What one run of a case came to."""

    outcome: dict
    received: list
    journal: list
    # keyward's lines, none without it.
    exchanges: list

    def evidence(self):
        return likeness.Evidence(self.outcome, self.received, self.journal)


class Stage:
    """One kind of client with all that it needs.  What it starts is registered with `cleanup`.

    | upstream   | is                                                  | before it                  |
    |------------|-----------------------------------------------------|----------------------------|
    | `mock`     | aimock that takes two keys                          | a keyward for each policy  |
    | `stub`     | OpenAI's refusals; it takes a key that no set has   | ones that observe, inject  |
    | `parts`    | OpenAI's uploads in parts; it takes the current key | a keyward for each policy  |
    | `realtime` | OpenAI's Realtime; it takes two keys                | a keyward for each policy  |
    """

    def __init__(self, kind, tools, binary, authority, folder, cleanup):
        self.kind, self.folder = kind, folder
        self.current, self.previous, self.stranger = new_key(), new_key(), new_key()
        # What the client threw, in its words.
        self.told = []
        self._binary, self._authority, self._cleanup = binary, authority, cleanup
        self.stub_key = new_key()
        accepted = [self.current, self.previous]
        self.mock = self._side("mock", mock.Mock(tools, self._folder("mock"), accepted), list(GRACES))
        self.stub = self._side("stub", stub.Stub(self.stub_key), ["observe", "inject"])
        self.sides = [self.mock, self.stub]
        if "upload" in kind.more:
            self.parts = self._side("parts", stub.Stub(self.current), list(GRACES))
            self.sides.append(self.parts)
        if "realtime_subprotocol" in kind.more:
            upstream = mock.Realtime(tools, self._folder("realtime"), accepted)
            self.realtime = self._side("realtime", upstream, list(GRACES))
            self.sides.append(self.realtime)
        self.driver = clients.Driver(kind, tools, folder, authority.file)
        cleanup.callback(self.driver.stop)

    def _folder(self, name):
        (self.folder / name).mkdir()
        return self.folder / name

    def _side(self, name, upstream, policies):
        self._cleanup.callback(upstream.stop)
        certificate = self._authority.certificate if self.kind.tls else None
        listening = tap.Tap(("127.0.0.1", upstream.port), certificate)
        self._cleanup.callback(listening.stop)
        side = Side(upstream, listening)
        for policy in policies:
            folder = self._folder(f"{name}-{policy}")
            settings = TLS.format(*certificate) if certificate else ""
            keys = (self.current, self.previous, policy, GRACES[policy])
            running = keyward.Keyward(self._binary, folder, listening.url, *keys, settings)
            self._cleanup.callback(running.stop)
            side.keywards[policy] = running
            side.tokens[policy] = running.command("token", "new", "default", "--name", "n8n")
            running.wait_for("was made")
        return side

    def secrets(self):
        """Everything that must not be written down."""
        tokens = [token for side in self.sides for token in side.tokens.values()]
        return [self.current, self.previous, self.stranger, self.stub_key, *tokens]

    def base(self, side, policy):
        """Where the client connects: to keyward, or without one to the tap."""
        address = side.keywards[policy].address if policy else side.tap.addresses[self.kind.tls]
        return f"{'https' if self.kind.tls else 'http'}://{address}/v1"

    def run(self, case, side, policy, credential):
        """Does a case once, through the keyward with that policy or through none."""
        side.upstream.reset()
        side.tap.forget()
        case.prepare(side.upstream)
        proxy = side.keywards.get(policy)
        known = len(proxy.exchanges()) if proxy else 0
        outcome = self.driver.do(case.does, self.base(side, policy), credential)
        if "raised" in outcome:
            self.told.append(str(outcome))
        (received,) = processes.until(side.all_ended, timeout=30, what="the end of every request")
        if not proxy:
            return Run(outcome, received, side.upstream.journal(), [])

        def logged():
            lines = proxy.exchanges()[known:]
            return len(lines) >= awaited and lines

        # What keyward refuses is not received.
        awaited = max(len(received), case.requests or 1)
        what = f"{awaited} log lines of what came to {str(outcome)[:400]}"
        exchanges = processes.until(logged, timeout=30, what=what)
        side.seen[policy] = side.seen.get(policy, 0) + len(exchanges)
        return Run(outcome, received, side.upstream.journal(), exchanges)


class Side:
    """An upstream, the tap before it, and the keywards before that."""

    def __init__(self, upstream, listening):
        self.upstream, self.tap = upstream, listening
        # By policy: keyward, its token, and how many lines of its log were looked at.
        self.keywards, self.tokens, self.seen = {}, {}, {}

    def all_ended(self):
        """What was received, in a tuple, as soon as nothing of it goes on."""
        received = self.tap.received()
        return all(request.answered or request.ended for request in received) and (received,)


def new_key():
    """An invented key of the form and length of a real one."""
    return f"sk-proj-{secrets.token_hex(24)}"
