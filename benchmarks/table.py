"""Results as a table for people."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.summary import Goal, Row, Summary


def number(value: float | None) -> str:
    """A number with as many digits as mean something."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def ratio(value: float | None) -> str:
    """A ratio to the baseline."""
    return "–" if value is None else f"{number(value)} ×"


def spread(row: Row) -> str:
    """The lowest and the highest value."""
    return f"{number(min(row.values))} – {number(max(row.values))}" if row.values else "–"


def verdict(goal: Goal) -> str:
    """One word on a target."""
    if goal.reached is None:
        return "not judged"
    return "pass" if goal.reached else f"miss by {number(goal.missed_by_percent)} %"


def show(summary: Summary, console: Console) -> None:
    """Print one benchmark's table, and what must be known to read it."""
    table = Table(title=summary.title, title_justify="left", caption_justify="left", pad_edge=False)
    for heading in ("case", "contender", "figure"):
        table.add_column(heading)
    for heading in ("median", "min – max", f"to {summary.baseline}"):
        table.add_column(heading, justify="right")
    table.add_column("target")
    table.add_column("")
    last = ""
    for row in summary.rows:
        heading = f"{row.figure}, {row.case}"
        if last and heading != last:
            table.add_section()
        last = heading
        cells = [row.case, row.title + (f" ({row.note})" if row.note else ""), f"{row.figure} {row.unit}"]
        if row.failure is not None:
            table.add_row(*cells, Text("failed", "red"), "", "", row.failure.splitlines()[-1][:80], "")
            continue
        targets = "\n".join(goal.text for goal in row.goals)
        verdicts = Text("\n").join(Text(verdict(goal), _colour(goal)) for goal in row.goals)
        table.add_row(*cells, number(row.median), spread(row), ratio(row.ratio), targets, verdicts)
    console.print(table)
    for title, note in summary.notes.items():
        console.print(f"  {title}: {note}", style="dim", highlight=False)
    console.print()


def _colour(goal: Goal) -> str:
    return {True: "green", False: "red", None: "yellow"}[goal.reached]
