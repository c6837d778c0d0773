"""The mocks of OpenAI's API: aimock, which others wrote, and a Realtime that takes keys in subprotocols.

aimock keeps files, batches and queued errors, and forgets all of it at `reset`, so that each case begins with the same.
Its journal tells what reached it.
"""

import json
import os
import re
import urllib.request
from pathlib import Path

import processes

FIXTURES = Path(__file__).resolve().parent / "fixtures.json"


class Mock:
    """A running aimock that takes the given keys and no other."""

    def __init__(self, tools, folder, keys):
        self._key = keys[0]
        command = [tools.node, tools.aimock, "--port", 0, "--fixtures", FIXTURES, "--journal-max", 0]
        environment = {"AIMOCK_API_KEYS": ",".join(keys)}
        self._child, self.port = _start(command, folder, folder / "aimock.log", environment)
        self._fixtures = FIXTURES.read_bytes()

    def reset(self):
        """Forgets everything but its fixtures."""
        self._control("POST", "/reset")
        self._control("POST", "/fixtures", self._fixtures)

    def fail_once(self, status, error):
        """Lets it answer the next request with an error; a 429 says `Retry-After: 1`."""
        self._control("POST", "/error", json.dumps({"status": status, "body": error}).encode())

    def journal(self):
        """What it says of the requests that it has served since the reset."""
        return self._control("GET", "/journal")

    def stop(self):
        self._child.end(patience=2)

    def _control(self, method, path, body=None):
        address = f"http://127.0.0.1:{self.port}/__aimock{path}"
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(address, data=body, method=method, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)


class Realtime:
    """A running `realtime.mjs` that takes the given keys and no other."""

    def __init__(self, tools, folder, keys):
        command = [tools.node, tools.beside("realtime.mjs")]
        self._child, self.port = _start(command, folder, folder / "realtime.log", {"KEYS": " ".join(keys)})

    def reset(self):
        """It remembers nothing."""

    def journal(self):
        """What it got, the tap tells."""
        return []

    def stop(self):
        self._child.end(patience=2)


def _start(command, folder, log, environment):
    """The child, and the port that it says it listens on."""
    child = processes.Child(command, log=log, cwd=folder, env={**os.environ, **environment})

    def announced():
        if not child.running():
            raise RuntimeError(f"{log.stem} ended while it was starting:\n{processes.tail(log)}")
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())
        return found and found[1]

    return child, int(processes.until(announced, timeout=60, what=log.stem))
