"""One long aggregate: loaded from all its events, and from a snapshot with the events after it."""

from collections.abc import Sequence
from decimal import Decimal

from benchmarks import workload
from benchmarks.plan import REFOLD, Benchmark, Check, Figure, Run, Scale, Target
from benchmarks.suite.logs import ENVIRONMENTS, log
from benchmarks.suite.peers import EVENTSOURCE, EVENTSOURCING, REFOLD_CONTENDER

ALL_EVENTS = "100,000 events"
SNAPSHOT = "1,000,000 events, a snapshot every 1,000"
SHORT_SNAPSHOT = "100,000 events, a snapshot"
AFTER_SNAPSHOT = 500
"""Events since the last snapshot: half-way to the next one."""
PEERS = ("eventsourcing", "eventsource")


def runs(scale: Scale) -> Sequence[Run]:
    """The peers get the shorter stream with a snapshot too: what they load then does not depend on what lies before
    it.
    """
    events = scale.choose(100_000, 10_000)
    return [
        *(_run(ALL_EVENTS, contender, events, snapshot=False) for contender in (REFOLD, *PEERS)),
        _run(SNAPSHOT, REFOLD, events * 10 - 1, snapshot=True),
        *(_run(SHORT_SNAPSHOT, contender, events, snapshot=True) for contender in PEERS),
    ]


def _run(case: str, contender: str, events: int, *, snapshot: bool) -> Run:
    # Refold takes its snapshot by itself, with the command that makes the thousand full.
    full = 1 if contender == REFOLD else 0
    later = full + AFTER_SNAPSHOT if snapshot else 0
    balance = workload.total(workload.long_history(events)) + sum(
        (workload.amount(number) for number in range(events, events + later)), Decimal(0)
    )
    return Run(
        case=case,
        contender=contender,
        module=f"benchmarks.contenders.{contender}.load",
        environment=ENVIRONMENTS[contender],
        arguments={"events": events, "snapshot": snapshot, "after_snapshot": later},
        seed=log(contender, 1, events),
        checks=[Check(f"SELECT {events + later}", "version"), Check(f"SELECT {balance}", "balance")],
    )


BENCHMARK = Benchmark(
    name="load",
    title="Load one aggregate in a process that has not seen it, Postgres",
    figures=[Figure("milliseconds", "load", "ms", "lower")],
    contenders=[REFOLD_CONTENDER, EVENTSOURCING, EVENTSOURCE],
    baseline="eventsourcing",
    targets=[Target(ALL_EVENTS, "milliseconds", "≤", 500), Target(SNAPSHOT, "milliseconds", "≤", 3)],
    runs=runs,
)
