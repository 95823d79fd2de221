"""The whole log read into typed events."""

from collections.abc import Sequence

from benchmarks import workload
from benchmarks.plan import REFOLD, Benchmark, Check, Figure, Run, Scale, Target
from benchmarks.suite.logs import ENVIRONMENTS, log
from benchmarks.suite.peers import EVENTSOURCE, EVENTSOURCING, REFOLD_CONTENDER

CONTENDERS = (REFOLD, "eventsourcing", "eventsource")
CASE = "whole log"
ACCOUNTS = 5000


def runs(scale: Scale) -> Sequence[Run]:
    """Each contender on its own copy of the same log."""
    events = scale.choose(300_000, 30_000)
    total = workload.total(workload.history(ACCOUNTS, events))
    return [
        Run(
            case=CASE,
            contender=contender,
            module=f"benchmarks.contenders.{contender}.read_log",
            environment=ENVIRONMENTS[contender],
            seed=log(contender, ACCOUNTS, events),
            # What was read is compared with what is known, by way of the database: no contender marks its own homework.
            checks=[Check(f"SELECT {events}", "events"), Check(f"SELECT {total}", "total")],
        )
        for contender in CONTENDERS
    ]


BENCHMARK = Benchmark(
    name="read_log",
    title="Read the whole log into typed events, Postgres",
    figures=[Figure("rate", "events", "/s"), Figure("peak", "peak memory", "MB", "lower")],
    contenders=[REFOLD_CONTENDER, EVENTSOURCING, EVENTSOURCE],
    baseline="eventsourcing",
    targets=[Target(CASE, "rate", "≥", 150_000)],
    runs=runs,
)
