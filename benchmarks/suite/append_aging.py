"""Whether appends slow down: with a long log, and while another session holds an old snapshot open."""

from collections.abc import Sequence

from benchmarks.plan import REFOLD, Benchmark, Check, Figure, Reference, Run, Scale, Target
from benchmarks.suite.logs import EVENTS_TABLE, log
from benchmarks.suite.peers import REFOLD_CONTENDER

CALLERS = 32
ACCOUNTS = 5000
YOUNG, OLD, HELD = "100,000 events", "5,000,000 events", "100,000 events, another session's snapshot held open"


def runs(scale: Scale) -> Sequence[Run]:
    """Three logs; the snapshot is held for two minutes, under load, and the rate is that of the last seconds."""
    young = scale.choose(100_000, 20_000)
    held = scale.choose(120, 20)
    return [
        _run(YOUNG, young, scale.seconds, held=0),
        _run(OLD, scale.choose(5_000_000, 200_000), scale.seconds, held=0),
        _run(HELD, young, scale.seconds, held=held),
    ]


def _run(case: str, events: int, seconds: int, *, held: int) -> Run:
    return Run(
        case=case,
        contender=REFOLD,
        module="benchmarks.contenders.refold.append_aging",
        environment="project",
        arguments={"callers": CALLERS, "events": events, "seconds": seconds, "held": held},
        seed=log(REFOLD, ACCOUNTS, events),
        checks=[Check(f"SELECT count(*) FROM {EVENTS_TABLE[REFOLD]}", "stored")],
    )


BENCHMARK = Benchmark(
    name="append_aging",
    title="Appends of 32 callers as the log grows, and under another session's open snapshot, Postgres",
    figures=[Figure("rate", "appends", "/s")],
    contenders=[REFOLD_CONTENDER],
    baseline=REFOLD,
    targets=[Target(case, "rate", "≥", 0.9, Reference((REFOLD,), case=YOUNG)) for case in (OLD, HELD)],
    runs=runs,
)
