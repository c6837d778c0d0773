"""Containers, as a runtime would make them of an image: see `enter.py` for what a process in one may do."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import processes

ENTER = Path(__file__).resolve().parent / "enter.py"


def volume(folder, image, path):
    """A named volume, which takes over owner and mode of what the image has at `path`."""
    folder.mkdir()
    like = image.path(path)
    if like.exists():
        shutil.copystat(like, folder)
        os.chown(folder, like.stat().st_uid, like.stat().st_gid)
    return folder


class Container:
    """A running container. Its root is read-only, whatever is mounted in it is not unless it says so."""

    def __init__(self, image, folder, *, mounts=(), env=None, command=None, groups=(), resolv="", hosts=""):
        folder.mkdir()
        self._image, self._groups = image, groups
        self._env = {"PATH": "/usr/local/bin:/usr/bin:/bin", **image.env, **(env or {})}
        self.root, self.log = folder / "root", folder / "log"
        shutil.copytree(image.root, self.root, copy_function=_copy_with_owner)
        _own_folders(image.root, self.root)
        (folder / "resolv.conf").write_text(resolv)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        files = [(folder / name, f"/etc/{name}", "rw") for name in ("resolv.conf", "hosts")]
        (self.root / "proc").mkdir()
        self._mounts = []
        targets = [(source, self._target(source, at), mode) for source, at, mode in [*files, *mounts]]
        self._mount(self.root, self.root, "ro")
        for target in targets:
            self._mount(*target)
        arguments = image.cmd if command is None else command
        self.child = processes.Child(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount", *self._enter(image.entrypoint + arguments)],
            log=self.log,
        )

    def lines(self):
        """What it has logged so far, line by line; what is no JSON as text."""
        text = self.log.read_text(errors="replace")
        return [_parsed(line) for line in text.split("\n")[:-1]]

    def wait_for(self, what, found):
        """The first line that `found` likes."""

        def look():
            line = next((line for line in self.lines() if isinstance(line, dict) and found(line)), None)
            if line is None and not self.child.running():
                raise RuntimeError(f"it ended before {what}:\n{processes.tail(self.log)}")
            return line

        return processes.until(look, timeout=30, what=what, pause=0.02)

    def listening(self):
        """The line with which it begins to serve."""
        return self.wait_for("the first line", lambda line: line.get("event") == "listening")

    def exchanges(self, count):
        """The lines of its exchanges, once there are that many."""

        def look():
            lines = [line for line in self.lines() if isinstance(line, dict) and line.get("event") == "exchange"]
            return lines if len(lines) >= count else None

        return processes.until(look, timeout=30, what=f"{count} exchanges in the log", pause=0.02)

    def run(self, *command, env=None):
        """Runs another process in it, as `docker exec` does. Gives its status and all that it printed."""
        words = ["unshare", "--mount", *self._enter(list(command), env)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def health(self):
        """Asks as the image's HEALTHCHECK does."""
        return self.run(*self._image.health)

    @property
    def pid(self):
        """The number of its first process, seen from outside."""
        outer = self.child.pid
        children = processes.until(
            lambda: Path(f"/proc/{outer}/task/{outer}/children").read_text().split(), timeout=20, what="its process"
        )
        return int(children[0])

    def signal_to_stop(self):
        """Sends what the image's STOPSIGNAL names."""
        os.kill(self.pid, getattr(signal, self._image.stop_signal))

    def ended(self, timeout):
        """Waits for its end and gives the status."""
        processes.until(lambda: not self.child.running(), timeout=timeout, what="its end", pause=0.02)
        return self.child.wait()

    def remove(self):
        """Ends it if it runs, and unmounts all that was mounted."""
        self.child.end(patience=0)
        for target in reversed(self._mounts):
            subprocess.run(["umount", target], check=True)
        self._mounts = []

    def _enter(self, command, env=None):
        user = ",".join([self._image.user, *map(str, self._groups)])
        variables = json.dumps(self._env | (env or {}))
        return [sys.executable, "-B", ENTER, self.root, self._image.workdir, user, variables, *command]

    def _target(self, source, at):
        """The place to mount something at, made where there is none."""
        target = self.root / at.lstrip("/")
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            # In a volume that is mounted by then, the runtime makes it there.
            target.touch()
        return target

    def _mount(self, source, target, mode):
        if source.is_file() and not target.exists():
            target.touch()
        subprocess.run(["mount", "--bind", source, target], check=True)
        self._mounts.append(target)
        if mode == "ro":
            subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)


def _copy_with_owner(source, target):
    shutil.copy2(source, target)
    os.chown(target, os.stat(source).st_uid, os.stat(source).st_gid)


def _own_folders(source, target):
    for folder in [source, *(inside for inside in source.rglob("*") if inside.is_dir())]:
        os.chown(target / folder.relative_to(source), folder.stat().st_uid, folder.stat().st_gid)


def _parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        return line
