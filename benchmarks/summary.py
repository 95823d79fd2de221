"""From readings to rows: medians, spread, ratios, and whether the targets were reached."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.plan import Benchmark, Figure, Reference, Target
from benchmarks.rounds import Readings


@dataclass(frozen=True)
class Goal:
    """One target of a row. `reached` is None when it could not be judged: a number that it is relative to is
    missing.
    """

    text: str
    limit: float | None
    reached: bool | None
    missed_by_percent: float | None


@dataclass(frozen=True)
class Row:
    """One figure of one contender in one case; `ratio` is to the baseline's median in the same case."""

    case: str
    contender: str
    title: str
    figure: str
    unit: str
    values: Sequence[float]
    median: float | None
    ratio: float | None
    goals: Sequence[Goal] = ()
    note: str = ""
    failure: str | None = None


@dataclass(frozen=True)
class Summary:
    """What one benchmark gave; `about` says how it was run and on which machine."""

    name: str
    title: str
    baseline: str
    about: dict[str, Any]
    rows: Sequence[Row]
    notes: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""
        return asdict(self)


Medians = dict[tuple[str, str, str], float]


def summarize(benchmark: Benchmark, readings: Sequence[Readings], about: dict[str, Any]) -> Summary:
    """All rows, figure by figure and case by case, in the order of the benchmark's runs."""
    medians: Medians = {
        (figure.key, reading.run.case, reading.run.contender): statistics.median(values)
        for figure in benchmark.figures
        for reading in readings
        if (values := reading.values(figure.key))
    }
    rows = [
        _row(benchmark, figure, reading, medians)
        for figure in benchmark.figures
        for reading in readings
        if reading.failure is not None or reading.values(figure.key)
    ]
    notes = {each.title: each.note for each in benchmark.contenders if each.note}
    return Summary(benchmark.name, benchmark.title, benchmark.title_of(benchmark.baseline), about, rows, notes)


def _row(benchmark: Benchmark, figure: Figure, reading: Readings, medians: Medians) -> Row:
    case, contender = reading.run.case, reading.run.contender
    median = medians.get((figure.key, case, contender))
    base = medians.get((figure.key, case, benchmark.baseline))
    goals = [
        _goal(benchmark, figure, target, median, medians)
        for target in benchmark.targets
        if (target.case, target.figure, target.contender) == (case, figure.key, contender)
    ]
    return Row(
        case=case,
        contender=contender,
        title=benchmark.title_of(contender),
        figure=figure.title,
        unit=figure.unit,
        values=reading.values(figure.key),
        median=median,
        ratio=median / base if median is not None and base else None,
        goals=goals,
        note=str(reading.answers[-1].get("note", "")) if reading.answers else "",
        failure=reading.failure,
    )


def _goal(benchmark: Benchmark, figure: Figure, target: Target, median: float | None, medians: Medians) -> Goal:
    text = f"{target.bound} {target.value:,g}"
    limit: float | None = target.value
    if target.of is None:
        text += figure.unit if figure.unit.startswith("/") else f" {figure.unit}"
    else:
        reference = _best(figure, target, target.of, medians)
        text += f" × {_named(benchmark, target, target.of)}"
        limit = None if reference is None else target.value * reference
    if median is None or limit is None:
        return Goal(text, limit, None, None)
    reached = median >= limit if target.bound == "≥" else median <= limit
    return Goal(text, limit, reached, None if reached else abs(median - limit) / limit * 100)


def _best(figure: Figure, target: Target, reference: Reference, medians: Medians) -> float | None:
    case = reference.case or target.case
    found = [medians[key] for contender in reference.contenders if (key := (figure.key, case, contender)) in medians]
    if not found:
        return None
    return max(found) if figure.better == "higher" else min(found)


def _named(benchmark: Benchmark, target: Target, reference: Reference) -> str:
    if reference.case is not None and reference.contenders == (target.contender,):
        return f"its own with {reference.case}"
    if len(reference.contenders) > 1:
        return "the best of " + " and ".join(benchmark.title_of(contender) for contender in reference.contenders)
    return benchmark.title_of(reference.contenders[0])
