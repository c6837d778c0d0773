"""Starts child processes, each in a group of its own, and ends every one of them.

A child's children (npm starts node, n8n starts its task runner) are in its group and end with it.
Nothing is ever ended by name: other processes on the machine may bear the same one.
"""

import os
import signal
import subprocess
import threading
import time

_running = set()
_lock = threading.Lock()
_closed = False


class Child:
    """A child process in its own group, with what it prints in a file."""

    def __init__(self, command, *, log, **options):
        with open(log, "ab") as output, _lock:
            # A thread that still installs must not start its next step after everything was ended.
            if _closed:
                raise RuntimeError("the run is ending")
            self._process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **options,
            )
            _running.add(self)

    @property
    def pid(self):
        """Its number."""
        return self._process.pid

    def running(self):
        """Whether it has not ended yet."""
        return not self._ended(os.WNOHANG)

    def wait(self):
        """Waits until it ended by itself, and returns the exit status."""
        self._ended(0)
        return self._clear()

    def end(self, patience=20):
        """Asks it to end, insists after `patience` seconds, and returns the exit status."""
        with _lock:
            if self in _running:
                os.kill(self._process.pid, signal.SIGTERM)
        try:
            until(lambda: not self.running(), timeout=patience, what="the end of a child")
        except TimeoutError:
            pass
        return self._clear()

    def kill(self):
        """Ends it at once."""
        return self._clear()

    def _ended(self, flags):
        # WNOWAIT looks without reaping: see `_clear`.
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | flags) is not None
        except ChildProcessError:
            return True

    def _clear(self):
        """Ends what is left of the group, reaps the child and returns its status."""
        with _lock:
            if self in _running:
                # An unreaped child keeps its number, so the group of that number is still this one.
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                _running.discard(self)
        return self._process.returncode


def run(command, *, log, **options):
    """Runs a command to its end and returns its exit status."""
    return Child(command, log=log, **options).wait()


def end_all():
    """Ends every child that still runs, and lets no new one start."""
    global _closed
    with _lock:
        _closed = True
        children = list(_running)
    for child in children:
        child.end(patience=5)


def ending():
    """Whether everything is being ended."""
    return _closed


def tail(path, lines=25):
    """The last lines of a file, each cut to a bearable length, for a report."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return f"(no {path.name})"
    return "\n".join(line[:1000] for line in text.splitlines()[-lines:])


def until(condition, *, timeout, what, pause=0.1):
    """Waits until `condition()` gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s in vain for {what}")
        time.sleep(pause)
    return result
