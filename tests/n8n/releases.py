"""The releases of n8n that are tried, and how each is installed.

The one native module that n8n cannot do without, sqlite3, is compiled here, once for all releases.

| below the cache      | what                                                              |
|----------------------|-------------------------------------------------------------------|
| `sqlite3-VERSION`    | the compiled module; it speaks N-API, so one build fits each node |
| `n8n-VERSION`        | n8n with all its packages                                         |
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from install import NODE, OLD_NODE, InstallFailed, bring_node, npm_install, once, require_tools, step

SQLITE = "5.1.7"
NODE_GYP = "11.4.2"


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
    Release("1.100.1", node=OLD_NODE, overrides={"xlsx": "0.18.5"}),
    Release("2.41.1", node=NODE),
]


@dataclass(frozen=True)
class Installed:
    """Where an installed release keeps the two files that start it."""

    release: Release
    node: Path
    script: Path


def bring(release):
    """Installs a release with all that it needs, or finds it installed."""
    node = bring_node(release.node)

    def build(folder, log):
        npm_install(folder, log, [f"n8n@{release.version}"], release.overrides)
        shutil.copytree(bring_sqlite(), folder / "node_modules" / "sqlite3" / "build" / "Release")

    folder = once(f"n8n-{release.version}", build)
    return Installed(release, node, folder / "node_modules" / "n8n" / "bin" / "n8n")


def bring_sqlite():
    """The folder with the compiled sqlite3 module."""
    # The oldest node builds it: N-API promises that what an older one built runs on a newer one.
    node = bring_node(OLD_NODE)
    headers = node.parent.parent

    def build(folder, log):
        require_tools("make", "g++")
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
