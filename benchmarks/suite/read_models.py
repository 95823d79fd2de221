"""The read side in production: many projections, idle ones, a rebuild in two processes, a rebuild under load."""

from collections.abc import Sequence

from benchmarks.plan import REFOLD, Benchmark, Contender, Figure, Reference, Run, Scale, Target
from benchmarks.suite.logs import log
from benchmarks.suite.peers import REFOLD_CONTENDER

ACCOUNTS = 5000
LIVE = "8 projections of 3 kinds, one reader"
IDLE = "10 idle projections"
LIVE_LONG = "8 projections of 3 kinds, 3,000,000 events"
ON_ONE = "rebuild of 1,000,000 events, on 1 core"
ONE, TWO = "rebuild of 1,000,000 events, 1 process", "rebuild of 1,000,000 events, 2 processes"
QUIET, LOADED = "500 appends a second", "500 appends a second, a rebuild beside"


def runs(scale: Scale) -> Sequence[Run]:
    """All by Refold itself: a figure is relative to another case, or bounded."""
    events, small = scale.choose(1_000_000, 30_000), scale.choose(300_000, 30_000)
    return [
        _run(LIVE, "live", small, projections=8),
        _run(LIVE_LONG, "live", scale.choose(3_000_000, 30_000), projections=8),
        _run(IDLE, "idle", scale.choose(30_000, 30_000), projections=10, seconds=scale.choose(20, 5)),
        _run(ON_ONE, "rebuild", events, jobs=1, cores=1),
        _run(ONE, "rebuild", events, jobs=1),
        _run(TWO, "rebuild", events, jobs=2),
        _run(QUIET, "under_load", small, rate=500, seconds=scale.choose(10, 3), rebuild=False),
        _run(LOADED, "under_load", small, rate=500, seconds=scale.choose(10, 3), rebuild=True),
    ]


def _run(case: str, module: str, events: int, **arguments: object) -> Run:
    return Run(
        case=case,
        contender=REFOLD,
        module=f"benchmarks.contenders.refold.{module}",
        environment="project",
        arguments=arguments,
        seed=log(REFOLD, ACCOUNTS, events),
    )


BENCHMARK = Benchmark(
    name="read_models",
    title="The read side in production, Postgres",
    figures=[
        Figure("rate", "events", "/s"),
        Figure("peak", "peak memory", "MB", "lower"),
        Figure("queries", "transactions", "/s", "lower"),
        Figure("core", "of a core", "%", "lower"),
        Figure("p99", "append p99", "ms", "lower"),
        Figure("longest", "longest append", "ms", "lower"),
    ],
    contenders=[Contender(REFOLD_CONTENDER.key, REFOLD_CONTENDER.title)],
    baseline=REFOLD,
    targets=[
        Target(LIVE, "rate", "≥", 20_000),
        Target(LIVE_LONG, "peak", "≤", 250),
        Target(LIVE_LONG, "peak", "≤", 1.1, Reference((REFOLD,), case=LIVE)),
        Target(IDLE, "core", "≤", 2),
        Target(TWO, "rate", "≥", 1.6, Reference((REFOLD,), case=ON_ONE)),
        Target(LOADED, "p99", "≤", 1.5, Reference((REFOLD,), case=QUIET)),
        Target(LOADED, "longest", "≤", 100),
    ],
    runs=runs,
)
