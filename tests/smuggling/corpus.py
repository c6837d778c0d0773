"""Reads the corpus, `tests/data/smuggling`, whose README says what stands in it."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "data" / "smuggling"


@dataclass(frozen=True)
class Filling:
    """What stands for the parts in braces that differ from run to run."""

    key: str
    evil: str
    next: str


@dataclass(frozen=True)
class Case:
    """One connection of a client, still to be filled in."""

    name: str
    swept: bool
    head: str
    body: str
    behind: str
    expected: str

    def has_key(self):
        return "{key}" in self.head

    def large(self):
        """Whether it is too large to be sent byte by byte."""
        return "00}" in self.head + self.body

    def fill(self, filling):
        """Its bytes, and each way that it may go as a list of steps."""
        body = _fill(self.body, filling, 0)
        text = _fill(self.head, filling, len(body)) + body + _fill(self.behind, filling, len(body))
        ways = _fill(self.expected, filling, len(body)).split("|")
        steps = [[step.strip() for step in way.split(",") if step.strip()] for way in ways]
        return text.encode("latin-1"), steps


def read():
    """All cases, by name."""
    return [case for file in sorted(FOLDER.glob("*.toml")) for case in _read(file)]


def _read(file):
    for family in tomllib.loads(file.read_text())["family"]:
        for frame in family["frame"]:
            for name, (text, expected) in family["cases"].items():
                title = f"{file.stem}: {family['name']}: {frame['name']}: {name}"
                for name, text, swept in _sweep(family, title, text):
                    # A frame has words for what may happen.
                    ways = [frame.get("expect", {}).get(way.strip(), way) for way in expected.split("|")]
                    parts = [frame.get(part, "").replace("{case}", text) for part in ("head", "body", "behind")]
                    yield Case(name, swept, *parts, "|".join(ways).replace("{case}", text))


def _sweep(family, name, text):
    if "{byte}" not in text:
        yield name, text, False
        return
    for first, last in family["sweep"]:
        for byte in range(first, last + 1):
            yield f"{name}: {byte:#04x}", text.replace("{byte}", chr(byte)), True


def _fill(text, filling, length):
    def value(match):
        inner = match[1]
        repeated, star, times = inner.rpartition("*")
        if star and times.isascii() and times.isdigit():
            return repeated * int(times)
        size = len(filling.evil)
        return {
            "key": filling.key,
            "evil": filling.evil,
            "evil length": str(size),
            "evil chunk": f"{size:x}\r\n{filling.evil}\r\n0\r\n\r\n",
            "next": filling.next,
            "length": str(length),
            "length+1": str(length + 1),
            "length+2": str(length + 2),
            "length-1": str(length - 1),
            "length-2": str(length - 2),
        }.get(inner, match[0])

    return re.sub(r"\{([^{}]*)\}", value, text)
