"""A table of balances, one row an account, rebuilt from the log."""

from collections.abc import Sequence

from benchmarks import workload
from benchmarks.plan import REFOLD, Benchmark, Check, Contender, Figure, Reference, Run, Scale, Target
from benchmarks.suite.logs import ENVIRONMENTS, log
from benchmarks.suite.peers import BY_HAND, EVENTSOURCE, EVENTSOURCING, REFOLD_CONTENDER

ACCOUNTS = 5000
EVENTS = 300_000
LARGE = 3_000_000
NAMES = {30_000: "30,000 events", EVENTS: "300,000 events", LARGE: "3,000,000 events"}
BY_EVENT = Contender(
    "eventsource_by_event",
    "eventsource-py 0.15, DatabaseProjection",
    "a transaction for each event; measured for some seconds",
)
BY_BATCH = Contender(
    EVENTSOURCE.key,
    "eventsource-py 0.15, handle_batch",
    "SQL of the user's own; a crash between batch and checkpoint counts events twice",
)
ONE_BY_ONE = Contender(
    EVENTSOURCING.key, EVENTSOURCING.title, "a transaction for each event; measured for some seconds"
)


def runs(scale: Scale) -> Sequence[Run]:
    """The log of 300,000 events for all; also 3 million for Refold, to see that memory stays flat."""
    events = scale.choose(EVENTS, 30_000)
    runs = [_refold(events), _handwritten(events), *_peers(scale, events)]
    return runs if scale.quick else [*runs, _refold(LARGE)]


def _refold(events: int) -> Run:
    total = workload.total(workload.history(ACCOUNTS, events))
    return Run(
        case=NAMES[events],
        contender=REFOLD,
        module="benchmarks.contenders.refold.rebuild",
        environment="project",
        arguments={"events": events},
        seed=log(REFOLD, ACCOUNTS, events),
        checks=[
            Check(f"SELECT {events}", "events"),
            Check("SELECT count(*) FROM account_balance", ACCOUNTS),
            Check("SELECT sum(balance) FROM account_balance", total),
        ],
    )


def _handwritten(events: int) -> Run:
    total = workload.total(workload.history(ACCOUNTS, events))
    return Run(
        case=NAMES[events],
        contender="handwritten",
        module="benchmarks.contenders.handwritten.rebuild",
        environment="peers",
        seed=log("handwritten", ACCOUNTS, events),
        checks=[Check(f"SELECT {events}", "events"), Check("SELECT sum(balance) FROM balances", total)],
    )


def _peers(scale: Scale, events: int) -> Sequence[Run]:
    arguments = {"events": events, "seconds": scale.choose(20, 5)}
    return [
        Run(
            case=NAMES[events],
            contender=contender,
            module=f"benchmarks.contenders.{library}.rebuild",
            environment=ENVIRONMENTS[library],
            arguments={**arguments, "batches": contender == EVENTSOURCE.key},
            seed=log(library, ACCOUNTS, events),
        )
        for contender, library in (
            (EVENTSOURCING.key, "eventsourcing"),
            (EVENTSOURCE.key, "eventsource"),
            (BY_EVENT.key, "eventsource"),
        )
    ]


BENCHMARK = Benchmark(
    name="rebuild",
    title="Rebuild a table of balances from a log of 5,000 accounts, Postgres",
    figures=[Figure("rate", "events", "/s"), Figure("peak", "peak memory", "MB", "lower")],
    contenders=[REFOLD_CONTENDER, BY_HAND, BY_BATCH, ONE_BY_ONE, BY_EVENT],
    baseline="handwritten",
    targets=[
        Target(NAMES[EVENTS], "rate", "≥", 100_000),
        Target(NAMES[EVENTS], "rate", "≥", 1.5, Reference(("handwritten",))),
        Target(NAMES[EVENTS], "peak", "≤", 200),
        Target(NAMES[LARGE], "peak", "≤", 1.1, Reference((REFOLD,), case=NAMES[EVENTS])),
    ],
    runs=runs,
)
