"""Durable appends of one event each on SQLite with synchronous=FULL, 32 callers."""

from collections.abc import Sequence

from benchmarks.plan import REFOLD, Benchmark, Check, Contender, Environment, Figure, Reference, Run, Scale, Target
from benchmarks.suite.peers import EVENTSOURCE, EVENTSOURCING, REFOLD_CONTENDER

CASE = "32 callers"
RAW = Contender("raw", "sqlite3, raw", "one thread, 100 rows in a transaction: not durable event by event")
CONTENDERS: Sequence[tuple[str, str, Environment, str]] = (
    (REFOLD, "refold.append_sqlite", "project", "events"),
    ("eventsourcing", "eventsourcing.append_sqlite", "peers", "stored_events"),
    ("eventsource", "eventsource.append_sqlite", "eventsource", "events"),
    ("raw", "handwritten.sqlite_rows", "peers", "events"),
)


def runs(scale: Scale) -> Sequence[Run]:
    """Each contender on a file of its own."""
    arguments = {"callers": 32, "seconds": scale.seconds}
    return [
        Run(
            case=CASE,
            contender=contender,
            module=f"benchmarks.contenders.{module}",
            environment=environment,
            arguments=arguments,
            store="sqlite",
            checks=[Check(f"SELECT count(*) FROM {table}", "acknowledged")],
        )
        for contender, module, environment, table in CONTENDERS
    ]


BENCHMARK = Benchmark(
    name="append_sqlite",
    title="Durable appends of one event each, with expected version, SQLite (synchronous=FULL)",
    figures=[Figure("rate", "appends", "/s")],
    contenders=[REFOLD_CONTENDER, EVENTSOURCING, EVENTSOURCE, RAW],
    baseline="eventsourcing",
    targets=[Target(CASE, "rate", "≥", 8, Reference(("eventsourcing",)))],
    runs=runs,
)
