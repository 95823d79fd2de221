"""Durable appends of one event each, with expected version, on Postgres."""

from collections.abc import Sequence

from benchmarks.plan import REFOLD, Benchmark, Check, Figure, Reference, Run, Scale, Target
from benchmarks.suite.peers import BY_HAND, EVENTSOURCE, EVENTSOURCING, PGBENCH, REFOLD_CONTENDER

CALLERS = (1, 8, 32, 256)
MOST_CLIENTS = 32
"""pgbench gets as many clients as there are callers, up to here: more make it slower on a small machine."""
FACTORS = {1: 0.6, 8: 1.1, 32: 1.5, 256: 2.0}


def case(callers: int) -> str:
    """The name of a case."""
    return f"{callers} caller" if callers == 1 else f"{callers} callers"


def runs(scale: Scale) -> Sequence[Run]:
    """Each contender with each number of callers."""
    return [run for callers in CALLERS for run in _runs(scale, callers)]


def _runs(scale: Scale, callers: int) -> Sequence[Run]:
    arguments = {"callers": callers, "seconds": scale.seconds}
    clients = {**arguments, "callers": min(callers, MOST_CLIENTS)}
    name = case(callers)
    events = [Check("SELECT count(*) FROM events", "acknowledged")]
    where = "benchmarks.contenders"
    return [
        Run(name, "pgbench", f"{where}.handwritten.pgbench", "project", clients, checks=[_count("bench_events")]),
        Run(name, REFOLD, f"{where}.refold.append", "project", arguments, checks=[_count("refold.events")]),
        Run(name, "handwritten", f"{where}.handwritten.append", "peers", arguments, checks=events),
        Run(name, "eventsourcing", f"{where}.eventsourcing.append", "peers", arguments, checks=[_count("bank_events")]),
        Run(name, "eventsource", f"{where}.eventsource.append", "eventsource", arguments, checks=events),
    ]


def _count(table: str) -> Check:
    return Check(f"SELECT count(*) FROM {table}", "acknowledged")


BENCHMARK = Benchmark(
    name="append",
    title="Durable appends of one event each, with expected version, Postgres",
    figures=[Figure("rate", "appends", "/s")],
    contenders=[REFOLD_CONTENDER, PGBENCH, BY_HAND, EVENTSOURCING, EVENTSOURCE],
    baseline="pgbench",
    targets=[Target(case(n), "rate", "≥", factor, Reference(("pgbench",))) for n, factor in FACTORS.items()],
    runs=runs,
)
