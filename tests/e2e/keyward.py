"""Starts keyward as its users do, with a config file, and reads its log as they would."""

import json
import os
import subprocess
from pathlib import Path

import processes

PROJECT = Path(__file__).resolve().parents[2]

CONFIG = """\
[proxy]
listen = "127.0.0.1:0"
upstream = "{upstream}"
# Servers that run on node keep theirs for five seconds.
pool_idle_timeout = "2s"

[keys.default]
policy = "{policy}"
current = {{ file = "{folder}/current-key" }}
previous = [ {{ file = "{folder}/previous-key" }} ]
grace = "{grace}"
{settings}

[log]
format = "json"
file = "{folder}/keyward.log"

[admin]
listen = "127.0.0.1:0"

[state]
dir = "{folder}/state"
"""


def binary(log):
    """The binary under test: `KEYWARD_BIN`, or a release build of this project."""
    chosen = os.environ.get("KEYWARD_BIN")
    if chosen:
        path = Path(chosen).resolve()
    else:
        print("cargo build --release", flush=True)
        status = processes.run(["cargo", "build", "--release", "--locked"], log=log, cwd=PROJECT)
        if status != 0:
            raise RuntimeError(f"cargo build ended with status {status}:\n{processes.tail(log)}")
        # A relative target folder is one below the folder that cargo was called in.
        path = PROJECT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "keyward"
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"there is no keyward to run at {path}")
    return path


class Keyward:
    """A running keyward with one key set.

    `settings` are more of that set's, and more tables; `variables` are more of its environment.
    """

    def __init__(
        self, binary, folder, upstream, current, previous, policy="observe", grace="24h", settings="", variables=None
    ):
        self._binary, self._folder = binary, folder
        self.log, self.output, self.state = folder / "keyward.log", folder / "keyward.out", folder / "state"
        for name, key in {"current-key": current, "previous-key": previous}.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(f"{key}\n")
        self._config = folder / "keyward.toml"
        values = {"upstream": upstream, "folder": folder, "policy": policy, "grace": grace, "settings": settings}
        self._config.write_text(CONFIG.format(**values))
        # How much of the log is read, what stood there, and how many of its exchanges were told as news.
        self._parsed, self._known, self._told = 0, [], 0
        command = [binary, "serve", "--config", self._config]
        self._child = processes.Child(command, log=self.output, cwd=folder, env={**_environment(), **(variables or {})})
        listening = processes.until(self._listening, timeout=20, what="keyward")
        self.address, self.admin = listening["address"], listening["admin"]
        self.url = f"http://{self.address}"

    def exchanges(self):
        """The log's line of each exchange so far, in the log's order, but for those of keyward's own presses of a test."""
        return [line for line in self._lines() if line.get("event") == "exchange" and "pressed" not in line]

    def presses(self):
        """The lines of what n8n sent because keyward pressed the test of a credential."""
        return [line for line in self._lines() if line.get("event") == "exchange" and "pressed" in line]

    def news(self, count):
        """The lines of exchanges that were not asked for yet, as soon as there are that many."""

        def come():
            return len(self.exchanges()) - self._told >= count

        try:
            processes.until(come, timeout=20, what=f"{count} more log lines", pause=0.02)
        finally:
            news = self.exchanges()[self._told :]
            self._told += len(news)
        return news

    def command(self, *arguments):
        """Runs another command of keyward's with the same config, and returns what it prints."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"keyward {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout.strip()

    def run(self, *arguments):
        """The same, whatever it ends with: gives its status and both outputs."""
        return subprocess.run(**self._started(arguments), capture_output=True)

    def begin(self, *arguments):
        """The same, while it runs."""
        return subprocess.Popen(**self._started(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def _started(self, arguments):
        # The config asks for any free port; a command has to know which one it was.
        environment = {**_environment(), "KEYWARD_ADMIN_LISTEN": self.admin}
        command = [self._binary, *arguments, "--config", self._config]
        return {"args": command, "cwd": self._folder, "env": environment, "text": True}

    def rotate(self, key):
        """Puts another key where the current one stands, and waits until keyward says that it has it."""
        known = len(self._lines())
        # Written aside first, as docs/rotate-a-key.md says: a file that is written in place may be read in between.
        (self._folder / "new-key").touch(mode=0o600)
        (self._folder / "new-key").write_text(f"{key}\n")
        (self._folder / "new-key").rename(self._folder / "current-key")
        self.wait_for("has a new current key", since=known)

    def wait_for(self, words, since=0):
        """Waits until the log says so, in a line that is not one of the first `since`."""

        def said():
            return any(words in line.get("message", "") for line in self._lines()[since:])

        processes.until(said, timeout=20, what=f"{words!r} in keyward's log", pause=0.02)

    def stop(self):
        """Sends SIGTERM and returns the exit status."""
        return self._child.end()

    def kill(self):
        """Ends it at once, as a machine that loses its power does."""
        self._child.kill()

    def is_running(self):
        """Whether it has not ended yet."""
        return self._child.running()

    def _listening(self):
        if not self._child.running():
            raise RuntimeError(f"keyward ended while it was starting:\n{processes.tail(self.output)}")
        return next((line for line in self._lines() if line.get("event") == "listening"), None)

    def _lines(self):
        """All lines of the log; only what is new is read."""
        if self.log.exists():
            with open(self.log, "rb") as log:
                log.seek(self._parsed)
                # The last piece is empty, or a line that is being written.
                whole = log.read().rpartition(b"\n")[0]
            if whole:
                self._parsed += len(whole) + 1
                self._known += [json.loads(line) for line in whole.split(b"\n")]
        return self._known


def _environment():
    """Settings of the machine would change what is tried, and a backtrace would bury the panic's message."""
    foreign = ("KEYWARD_", "RUST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
