"""Brings the real n8n releases, and the node that each wants, into a cache of their own.

Everything comes from the npm registry (and, where a tool is missing, from apt) through its ordinary
client.  Package scripts stay switched off: many of them download prebuilt binaries from elsewhere.
The one native module that n8n cannot do without, sqlite3, is compiled here, once for all releases.

| below the cache      | what                                                              |
|----------------------|-------------------------------------------------------------------|
| `node-VERSION`       | a node binary with its headers                                    |
| `npm-VERSION`        | the npm that installs all that follows                            |
| `sqlite3-VERSION`    | the compiled module; it speaks N-API, so one build fits each node |
| `n8n-VERSION`        | n8n with all its packages                                         |
| `NAME.log`, `.lock`  | what its install printed; held while one process installs it      |
"""

import contextlib
import fcntl
import json
import os
import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import processes

NPM = "11.19.1"
SQLITE = "5.1.7"
NODE_GYP = "11.4.2"
# A change of the steps below makes every finished install stale, so it raises this number.
RECIPE = "1"


@dataclass(frozen=True)
class Release:
    """A release of n8n, the node that runs it and the packages that npm must replace."""

    version: str
    node: str
    overrides: dict = field(default_factory=dict)

    @property
    def major(self):
        return int(self.version.split(".")[0])


RELEASES = [
    # This release takes xlsx from outside the registry; the registry's own serves it just as well.
    Release("1.100.1", node="20.20.2", overrides={"xlsx": "0.18.5"}),
    Release("2.41.1", node="24.21.0"),
]
# The oldest node builds sqlite3: N-API promises that what an older one built runs on a newer one.
TOOLS_NODE = RELEASES[0].node


@dataclass(frozen=True)
class Installed:
    """Where an installed release keeps the two files that start it."""

    release: Release
    node: Path
    script: Path


class InstallFailed(Exception):
    """An install step failed; the message ends with the last lines that it printed."""


def bring(release):
    """Installs a release with all that it needs, or finds it installed."""
    node = bring_node(release.node)

    def build(folder, log):
        npm_install(folder, log, [f"n8n@{release.version}"], release.overrides)
        shutil.copytree(bring_sqlite(), folder / "node_modules" / "sqlite3" / "build" / "Release")

    folder = once(f"n8n-{release.version}", build)
    return Installed(release, node, folder / "node_modules" / "n8n" / "bin" / "n8n")


def bring_node(version):
    """A node binary.  It is a package on the registry, one for each processor."""
    processor = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    package = f"node-linux-{processor}"
    folder = once(
        f"node-{version}",
        lambda folder, log: npm_install(folder, log, [f"{package}@{version}"], npm=["npm"]),
    )
    return folder / "node_modules" / package / "bin" / "node"


def bring_npm():
    """The words that call npm.  Whatever npm the machine has is enough to get this one."""
    # Debian's npm, for one, stops at the package that a release's `overrides` replace.
    node = bring_node(TOOLS_NODE)
    folder = once(f"npm-{NPM}", lambda folder, log: npm_install(folder, log, [f"npm@{NPM}"], npm=["npm"]))
    return [node, folder / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def bring_sqlite():
    """The folder with the compiled sqlite3 module."""
    node = bring_node(TOOLS_NODE)
    headers = node.parent.parent

    def build(folder, log):
        npm_install(folder, log, [f"sqlite3@{SQLITE}", f"node-gyp@{NODE_GYP}"])
        gyp = folder / "node_modules" / "node-gyp" / "bin" / "node-gyp.js"
        # sqlite3 brings a node-gyp of its own, which does not run with the python of today.
        step(
            [node, gyp, "rebuild", f"--nodedir={headers}", "--jobs=2"],
            log=log,
            cwd=folder / "node_modules" / "sqlite3",
            env={**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}"},
        )
        if not (folder / MODULE / "node_sqlite3.node").exists():
            raise InstallFailed(f"sqlite3 was built without an error, but not into {MODULE}")

    return once(f"sqlite3-{SQLITE}", build) / MODULE


MODULE = Path("node_modules", "sqlite3", "build", "Release")


def once(name, build):
    """The folder `name` in the cache, made by `build(folder, log)` unless it is complete.

    The marker is written last, so that an install that broke, at whatever point, is made anew.
    """
    folder, log = cache_folder() / name, cache_folder() / f"{name}.log"
    with locked(name):
        marker = folder / ".complete"
        if marker.exists() and marker.read_text() == RECIPE:
            return folder
        require_tools()
        shutil.rmtree(folder, ignore_errors=True)
        log.unlink(missing_ok=True)
        folder.mkdir()
        build(folder, log)
        marker.write_text(RECIPE)
    return folder


@contextlib.contextmanager
def locked(name):
    """Keeps all others, threads and processes, from doing the same until it is done."""
    with open(cache_folder() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_folder():
    """The folder for everything that is too slow to fetch anew in each run."""
    chosen = os.environ.get("KEYWARD_E2E_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "keyward-e2e"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def require_tools():
    """Installs npm and a C++ compiler with apt, where the machine lacks them."""
    # Any npm, with any node, is good enough to bring the ones that do the work.
    needs = {"npm": ["nodejs", "npm"], "make": ["make"], "g++": ["g++"]}
    with locked("apt"):
        packages = [name for tool, names in needs.items() if not shutil.which(tool) for name in names]
        if packages:
            print(f"apt-get install {' '.join(packages)}", flush=True)
            log = cache_folder() / "apt.log"
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            step(["apt-get", "update"], log=log, env=quiet)
            step(["apt-get", "install", "--yes", "--no-install-recommends", *packages], log=log, env=quiet)


def npm_install(folder, log, packages, overrides=None, npm=None):
    """Installs packages into a folder, without running any script of theirs."""
    npm = npm or bring_npm()
    manifest = {"name": "cached", "version": "1.0.0", "private": True, "overrides": overrides or {}}
    (folder / "package.json").write_text(json.dumps(manifest))
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--save-exact"]
    step([*npm, "install", *flags, *packages], log=log, cwd=folder)


def step(command, *, log, **options):
    """Runs one command of an install with its output in `log`."""
    status = processes.run(command, log=log, **options)
    if status != 0:
        words = " ".join(map(str, command))
        raise InstallFailed(f"`{words}` ended with status {status}:\n{processes.tail(log)}")
