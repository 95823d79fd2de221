"""Commands of 32 callers on one account, beside the same on many accounts: what contention costs."""

from collections.abc import Sequence

from benchmarks.plan import REFOLD, Benchmark, Check, Environment, Figure, Reference, Run, Scale, Target
from benchmarks.suite.peers import EVENTSOURCE, EVENTSOURCING, REFOLD_CONTENDER

CALLERS = 32
MANY = 3200
CASES = {"one account": 1, "many accounts": MANY}
CONTENDERS: Sequence[tuple[str, str, Environment, str]] = (
    (REFOLD, "refold.hot_account", "project", "refold.events"),
    ("eventsourcing", "eventsourcing.hot_account", "peers", "bank_events"),
    ("eventsource", "eventsource.hot_account", "eventsource", "events"),
)


def runs(scale: Scale) -> Sequence[Run]:
    """Both cases for each contender."""
    return [
        Run(
            case=case,
            contender=contender,
            module=f"benchmarks.contenders.{module}",
            environment=environment,
            arguments={"callers": CALLERS, "accounts": accounts, "seconds": scale.seconds},
            checks=[Check(f"SELECT count(*) FROM {table}", "stored")],
        )
        for case, accounts in CASES.items()
        for contender, module, environment, table in CONTENDERS
    ]


BENCHMARK = Benchmark(
    name="hot_account",
    title="Decide and append, 32 callers: all on one account, and each on accounts of its own (warm)",
    figures=[Figure("rate", "commands", "/s")],
    contenders=[REFOLD_CONTENDER, EVENTSOURCING, EVENTSOURCE],
    baseline="eventsourcing",
    targets=[Target("one account", "rate", "≥", 0.5, Reference((REFOLD,), case="many accounts"))],
    runs=runs,
)
