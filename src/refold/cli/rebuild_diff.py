"""What `refold rebuild --diff` prints: the rows that change, and the event that makes each of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from refold.cli.printing import count, print_json
from refold.messages.event_types import encode_json
from refold.projections.review.changes import KINDS, RebuildDiff, RowChange, Why

__all__ = ["print_diff", "print_diff_lines"]

_SIGNS = {"added": "+", "removed": "-", "changed": "~", "extended": "~"}
_WORDS = {
    "added": "added",
    "removed": "removed",
    "changed": "changed",
    "extended": "changed in new fields only",
}
_LONGEST = 60


def print_diff(diff: RebuildDiff) -> None:
    """For a person: the first rows of each kind, and totals."""
    if diff.definition:
        click.echo(f"the definition changed: {diff.definition}")
    for names, what in (
        (diff.not_comparable, "not compared, since their types changed"),
        (diff.gone_fields, "gone, and not compared"),
    ):
        if names:
            click.echo(f"fields {what}: {', '.join(names)}")
    for row in diff.rows:
        click.echo(f"{_SIGNS[row.kind]} {_key(row)}{_change(row)}")
        if row.why is not None:
            click.echo(f"    {_why(row.why)}")
    hidden = diff.differing - len(diff.rows)
    if hidden:
        click.echo(f"… and {count(hidden)} more; --shown N shows more of them, --json all")
    totals = [f"{count(diff.counts[kind])} {_WORDS[kind]}" for kind in KINDS if diff.counts[kind]]
    if diff.uncompared:
        totals.append(f"{count(diff.uncompared)} not compared (they moved all the time)")
    said = ", ".join(totals) or "no row changes"
    click.echo(f"{diff.name} at position {count(diff.position)}: {said}; {count(diff.same)} stay as they are")


def print_diff_lines(diff: RebuildDiff) -> None:
    """For programs: one line of JSON for each row, and one with the totals at the end."""
    for row in diff.rows:
        line = {
            "key": list(row.key),
            "kind": row.kind,
            "old": row.old,
            "new": row.new,
            "position": row.position,
            "why": row.why,
        }
        print_json(line, compact=True)
    summary: dict[str, Any] = {
        "name": diff.name,
        "position": diff.position,
        "definition": diff.definition,
        **{str(kind): number for kind, number in diff.counts.items()},
        "same": diff.same,
        "uncompared": diff.uncompared,
        "new_fields": diff.new_fields,
        "gone_fields": diff.gone_fields,
        "not_comparable": diff.not_comparable,
    }
    print_json(summary, compact=True)


def _key(row: RowChange) -> str:
    return " ".join(str(part) for part in row.key)


def _change(row: RowChange) -> str:
    if row.kind in ("added", "removed"):
        return f": {_fields(row.new or row.old)}"
    changes = [f"{name} {_shown(row.old, name)} → {_shown(row.new, name)}" for name in row.new]
    return f": {', '.join(changes)}"


def _fields(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_shown(values, name)}" for name in values)


def _shown(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "(new)"
    text = encode_json(values[name]).decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _why(why: Why) -> str:
    if not why.position:
        return why.because
    first = "first event that makes the difference" if why.exact else "first event that can make the difference"
    return f"{first}: {why.type} at {count(why.position)} ({why.stream}); {why.because}"
