"""keyward as it is tried here: nothing is set but addresses and what a trial is about."""

import json

import processes


class Keyward:
    def __init__(self, binary, folder, upstream, listen="127.0.0.1:0", **settings):
        folder.mkdir()
        self.upstream = upstream
        self._log = folder / "keyward.log"
        chosen = {
            "KEYWARD_PROXY_UPSTREAM": upstream,
            "KEYWARD_PROXY_LISTEN": listen,
            "KEYWARD_ADMIN_LISTEN": "127.0.0.1:0",
            "KEYWARD_LOG_FILE": str(self._log),
            "HOME": str(folder),
            **{f"KEYWARD_PROXY_{name.upper()}": value for name, value in settings.items()},
        }
        self._child = processes.Child([binary, "serve"], log=folder / "out", cwd=folder, env=chosen)
        listening = lambda: next((line for line in self._lines() if line.get("event") == "listening"), None)
        try:
            host, port = processes.until(listening, timeout=20, what="keyward")["address"].rsplit(":", 1)
        except TimeoutError as error:
            raise RuntimeError(processes.tail(folder / "out")) from error
        self.address = (host, int(port))

    def line(self, workflow):
        """The line of the exchange that had this tag."""
        of_it = lambda: next((line for line in self._lines() if line.get("workflow_id") == workflow), None)
        return processes.until(of_it, timeout=20, what=f"a line of {workflow}")

    def _lines(self):
        if not self._log.exists():
            return []
        return [json.loads(line) for line in self._log.read_text().split("\n")[:-1]]
