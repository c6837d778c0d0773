"""Brings what the suites need from elsewhere, node and npm first, into a cache of their own.

Everything comes from the npm registry and PyPI (and, where a tool is missing, from apt) through their
ordinary clients.  Package scripts stay switched off: many of them download prebuilt binaries from elsewhere.

| below the cache      | what                                                  |
|----------------------|-------------------------------------------------------|
| `node-VERSION`       | a node binary with its headers                        |
| `npm-VERSION`        | the npm that installs all that follows                |
| other folders        | what a suite brings by `once`                         |
| `NAME.log`, `.lock`  | what its install printed; held while it is installed  |
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import sys
from pathlib import Path

import processes

NPM = "11.19.1"
# npm runs on the older one; the programs under test on whichever they want.
OLD_NODE, NODE = "20.20.2", "24.21.0"
# A change of the steps below makes every finished install stale, so it raises this number.
RECIPE = "1"
# The Debian packages that bring each tool. Any npm, with any node, is good enough to bring the ones that do the work.
TOOLS = {
    "npm": ["nodejs", "npm"],
    "make": ["make"],
    "g++": ["g++"],
    "nginx": ["nginx-light"],
    "openssl": ["openssl"],
    "redis-server": ["redis-server"],
    "venv": ["python3-venv"],
    # With a font, or a page has no text.
    "chromium": ["chromium", "fonts-dejavu-core"],
}


class InstallFailed(Exception):
    """An install step failed; the message ends with the last lines that it printed."""


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
    # Debian's npm, for one, stops at a package that `overrides` replace.
    node = bring_node(OLD_NODE)
    folder = once(f"npm-{NPM}", lambda folder, log: npm_install(folder, log, [f"npm@{NPM}"], npm=["npm"]))
    return [node, folder / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def make_venv(folder, log, *arguments):
    """Makes a virtual environment of the python that runs this, with what `pip install` is told to bring."""
    require_tools("venv")
    step([sys.executable, "-m", "venv", folder / "venv"], log=log)
    step([folder / "venv" / "bin" / "pip", "install", "--quiet", *arguments], log=log)


def once(name, build):
    """The folder `name` in the cache, made by `build(folder, log)` unless it is complete.

    The marker is written last, so that an install that broke, at whatever point, is made anew.
    """
    folder, log = cache_folder() / name, cache_folder() / f"{name}.log"
    with locked(name):
        marker = folder / ".complete"
        if marker.exists() and marker.read_text() == RECIPE:
            return folder
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


def require_tools(*names):
    """Installs tools with apt, where the machine lacks them."""
    with locked("apt"):
        packages = [package for name in names if not _is_there(name) for package in TOOLS[name]]
        if packages:
            print(f"apt-get install {' '.join(packages)}", flush=True)
            log = cache_folder() / "apt.log"
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            step(["apt-get", "update"], log=log, env=quiet)
            step(["apt-get", "install", "--yes", "--no-install-recommends", *packages], log=log, env=quiet)


def _is_there(tool):
    # Debian's python has the module `venv` without what it needs.
    return importlib.util.find_spec("ensurepip") if tool == "venv" else shutil.which(tool)


def npm_install(folder, log, packages, overrides=None, npm=None):
    """Installs packages into a folder, without running any script of theirs."""
    manifest = {"name": "cached", "version": "1.0.0", "private": True, "overrides": overrides or {}}
    (folder / "package.json").write_text(json.dumps(manifest))
    call_npm(folder, log, ["install", "--save-exact", *packages], npm)


def call_npm(folder, log, words, npm=None):
    """Runs npm in a folder, without any script of a package."""
    npm = npm or bring_npm()
    require_tools("npm")
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    step([*npm, *words, *flags], log=log, cwd=folder)


def step(command, *, log, **options):
    """Runs one command of an install with its output in `log`."""
    status = processes.run(command, log=log, **options)
    if status != 0:
        words = " ".join(map(str, command))
        raise InstallFailed(f"`{words}` ended with status {status}:\n{processes.tail(log)}")
