"""The table of what works where, which stands in docs/connect-n8n.md: made of what was seen, never of what was expected."""

import re

import kinds
from keyward import PROJECT

PAGE = PROJECT / "docs" / "connect-n8n.md"
BEGIN = "<!-- What works where: `tests/n8n/run --table` writes it. -->\n\n"
END = "\n<!-- The end of what works where. -->\n"
KNOWN = {(True, True, True): "●", (True, True, False): "◐", (False, False, False): "○"}
WAYS = {"path": "URL", "tag": "tag"}
PLACES = {"message": "headline", "description": "description", "messages": "details"}


def of(cells):
    """The table as Markdown.  `cells` has what was seen, by release and way, and then by the title of the kind."""
    head = ["node", *(f"{release}, {WAYS[way]}" for release, way in cells), "a refusal stands in"]
    rows = [head, ["---"] + [":-:"] * len(cells) + ["---"]]
    for kind in kinds.ALL:
        seen = [column.get(kind.title) for column in cells.values()]
        rows.append([kind.title, *map(_mark, seen), _places(cells, kind)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _mark(cell):
    if not cell:
        return "–"
    works = ("✓" if cell.works.get(policy) else "✗" for policy in ("observe", "enforce", "inject"))
    return f"{KNOWN.get(cell.known, '?')} {''.join(works)}"


def _places(cells, kind):
    """Where n8n shows a refusal: once, if all releases do it alike."""
    by_release = {}
    for (release, _), column in cells.items():
        if kind.title in column:
            by_release.setdefault(release, set()).update(column[kind.title].shown)
    named = [", ".join(word for place, word in PLACES.items() if place in places) for places in by_release.values()]
    return " / ".join(dict.fromkeys(named))


def on_page():
    """What stands on the page now."""
    return _parts()[1]


def write(table):
    """Puts another table in its place."""
    before, _, behind = _parts()
    PAGE.write_text(before + table + behind)


def _parts():
    text = PAGE.read_text()
    found = re.fullmatch(f"(.*{re.escape(BEGIN)})(.*)({re.escape(END)}.*)", text, re.DOTALL)
    if not found:
        raise RuntimeError(f"{PAGE} has no place for the table: it stands between {BEGIN!r} and {END!r}")
    return found.groups()
