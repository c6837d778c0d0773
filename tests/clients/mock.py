"""The mock of OpenAI's API: aimock, which others wrote.  Its journal tells what reached it.

It keeps files, batches and queued errors, and forgets all of it at `reset`, so that each case begins with the same.
"""

import json
import os
import re
import urllib.request
from pathlib import Path

import processes

FIXTURES = Path(__file__).resolve().parent / "fixtures.json"


class Mock:
    """A running aimock that takes the given keys and no other, or without any whatever comes."""

    def __init__(self, tools, folder, keys):
        self.log, self._key = folder / "aimock.log", keys[0] if keys else "none"
        command = [tools.node, tools.aimock, "--port", 0, "--fixtures", FIXTURES, "--journal-max", 0]
        environment = {**os.environ, "AIMOCK_API_KEYS": ",".join(keys)}
        if not keys:
            del environment["AIMOCK_API_KEYS"]
        self._child = processes.Child(command, log=self.log, cwd=folder, env=environment)
        self.port = int(processes.until(self._announced, timeout=60, what="aimock"))
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

    def _announced(self):
        if not self._child.running():
            raise RuntimeError(f"aimock ended while it was starting:\n{processes.tail(self.log)}")
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.log.read_text())
        return found and found[1]

    def _control(self, method, path, body=None):
        address = f"http://127.0.0.1:{self.port}/__aimock{path}"
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(address, data=body, method=method, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)
