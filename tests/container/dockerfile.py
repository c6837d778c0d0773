"""Follows a Dockerfile, so that what is tried cannot differ from what it says.

A stage that is FROM an image with tools is run with this machine's own. `RUN` lines of it may use paths below its
WORKDIR only. A stage that is FROM scratch becomes a folder with an owner and a mode for each file, as in the image.
What is not known here is an error: a new instruction wants to be followed as well.
"""

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import processes


@dataclass
class Image:
    """A root file system, and what is said about how to run it."""

    root: Path
    workdir: Path = Path("/")
    env: dict = field(default_factory=dict)
    user: str = "0:0"
    entrypoint: list = field(default_factory=list)
    cmd: list = field(default_factory=list)
    health: list = field(default_factory=list)
    stop_signal: str = "SIGTERM"
    ports: list = field(default_factory=list)
    is_scratch: bool = False

    def path(self, inside):
        """Where a path of the image lies on this machine."""
        return self.root / str(self.workdir / inside).lstrip("/")


def build(dockerfile, context, folder, cache, log):
    """Follows all instructions and returns the last stage. `cache` is kept for the next time."""
    stages, image = {}, None
    for instruction, rest in instructions(dockerfile.read_text()):
        match instruction:
            case "FROM":
                base, _, name = rest.partition(" AS ")
                image = Image(folder / f"stage-{len(stages)}", is_scratch=base == "scratch")
                image.root.mkdir()
                stages[name or len(stages)] = image
            case "WORKDIR":
                image.workdir = image.workdir / rest
                image.path("").mkdir(parents=True, exist_ok=True)
            case "COPY":
                copy(rest, image, stages, context)
            case "RUN":
                run(rest, image, cache, log)
            case "ENV":
                image.env |= dict(word.split("=", 1) for word in shlex.split(rest))
            case "USER":
                image.user = rest
            case "EXPOSE":
                image.ports.append(int(rest))
            case "STOPSIGNAL":
                image.stop_signal = rest
            case "HEALTHCHECK":
                image.health = json.loads(rest.partition("CMD ")[2])
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "CMD":
                image.cmd = json.loads(rest)
            case _:
                raise ValueError(f"{dockerfile} has {instruction}, which is not followed here")
    if not image.is_scratch:
        raise ValueError(f"{dockerfile} does not end with a stage FROM scratch")
    return image


def instructions(text):
    """Each instruction with what follows it, comments left out and continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        yield line.split(" ", 1)


def copy(rest, image, stages, context):
    flags, words = split_flags(rest)
    *sources, target = words
    for source in sources:
        origin = stages[flags["from"]].path(source) if "from" in flags else context / source
        destination = image.path(target)
        if target.endswith("/") and origin.is_file():
            destination = destination / origin.name
        owner = tuple(map(int, flags.get("chown", "0:0").split(":")))
        make_parents(destination, owner)
        if origin.is_dir():
            shutil.copytree(origin, destination, dirs_exist_ok=True)
        else:
            shutil.copy2(origin, destination)
        for inside in [destination, *destination.rglob("*")]:
            os.chown(inside, *owner)
        if "chmod" in flags:
            destination.chmod(int(flags["chmod"], 8))


def make_parents(path, owner):
    """BuildKit gives them to whom it gives the copy."""
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir(mode=0o755)
        os.chown(folder, *owner)


def run(rest, image, cache, log):
    """A cache below the WORKDIR is a link to one that stays; one elsewhere is this machine's own."""
    command = rest
    while command.startswith("--"):
        word, _, command = command.partition(" ")
        mount = dict(part.split("=", 1) for part in word.removeprefix("--mount=").split(","))
        if mount["type"] != "cache":
            raise ValueError(f"{word} is not followed here")
        if Path(mount["target"]).is_relative_to(image.workdir):
            cache.mkdir(parents=True, exist_ok=True)
            image.path(mount["target"]).symlink_to(cache)
    # Where cargo builds is the Dockerfile's affair.
    env = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"} | image.env
    status = processes.run(["/bin/sh", "-c", command], log=log, cwd=image.path(""), env=env)
    if status != 0:
        raise RuntimeError(f"RUN {command}\nended with {status}:\n{processes.tail(log)}")


def split_flags(rest):
    words = rest.split()
    flags = dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--"))
    return flags, [word for word in words if not word.startswith("--")]
