"""The tables of docs/benchmarks.md, written from the results' files: no number is typed by hand.

A table stands between `<!-- results: NAME -->` and `<!-- end of results -->`; the machine's line between `<!--
machine -->` and its end.
"""

import re
from typing import Any

from benchmarks.environments import ROOT
from benchmarks.results import PUBLISHED, load, save
from benchmarks.summary import Row, Summary
from benchmarks.table import number, ratio, spread, verdict

PAGE = ROOT / "docs" / "benchmarks.md"
_TABLE = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
_MACHINE = re.compile(r"(<!-- machine -->\n).*?(<!-- end of machine -->)", re.DOTALL)


def publish() -> list[str]:
    """Take the last results over into `published/` and write the page. Returns what was not taken, and why."""
    left_out = []
    for name in _named(PAGE.read_text(encoding="utf-8")):
        summary = load(name)
        if summary is None:
            left_out.append(f"{name}: not run here")
        elif summary.about["quick"]:
            left_out.append(f"{name}: the last run was a quick one, which proves nothing")
        elif summary.about["only"]:
            left_out.append(f"{name}: the last run left contenders out")
        else:
            save(summary, PUBLISHED)
    PAGE.write_text(rendered(), encoding="utf-8")
    return left_out


def rendered() -> str:
    """The page as the published results want it."""
    text = PAGE.read_text(encoding="utf-8")
    published = {name: load(name, PUBLISHED) for name in _named(text)}
    text = _TABLE.sub(lambda match: match[1] + _table(published[match[2]]) + match[3], text)
    return _MACHINE.sub(lambda match: match[1] + _machines(published) + match[2], text)


def _named(text: str) -> list[str]:
    return [match[2] for match in _TABLE.finditer(text)]


def _table(summary: Summary | None) -> str:
    if summary is None:
        return "*Not measured yet.*\n"
    lines = [
        f"| | | median | min – max | to {summary.baseline} | target | |",
        "|---|---|---:|---:|---:|---|---|",
        *(_line(row) for row in summary.rows),
    ]
    about = summary.about
    return "\n".join(lines) + f"\n\n{about['rounds']} interleaved rounds, {about['started'][:10]}.\n"


def _line(row: Row) -> str:
    title = f"**{row.title}**" if row.contender == "refold" else row.title
    title += f" ({row.note})" if row.note else ""
    what = f"{row.case}: {row.figure}, {row.unit}"
    if row.failure is not None:
        return f"| {what} | {title} | failed | | | {row.failure.splitlines()[0].replace('|', '/')[:80]} | |"
    targets = "<br>".join(goal.text for goal in row.goals)
    verdicts = "<br>".join(verdict(goal) for goal in row.goals)
    return f"| {what} | {title} | {number(row.median)} | {spread(row)} | {ratio(row.ratio)} | {targets} | {verdicts} |"


def _machines(published: dict[str, Summary | None]) -> str:
    machines: list[dict[str, Any]] = []
    for summary in published.values():
        if summary is not None and _same(summary.about["machine"]) not in [_same(each) for each in machines]:
            machines.append(summary.about["machine"])
    if not machines:
        return "*Not measured yet.*\n"
    return "".join(f"{_sentence(machine)}\n" for machine in machines)


def _same(machine: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in machine.items() if key not in ("load_before", "fdatasync_ms")}


def _sentence(machine: dict[str, Any]) -> str:
    return (
        f"{machine['processor']}, {machine['memory']}, {machine['system']};"
        f" Python {machine['python']}, {machine['postgres']}, SQLite {machine['sqlite']};"
        f" a durable write of 8 kB (fdatasync) takes {machine['fdatasync_ms']:g} ms."
    )
