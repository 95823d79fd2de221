"""Commands of 8 callers: load an account of about 20 events, check the rule, append."""

from collections.abc import Sequence

from benchmarks.plan import REFOLD, Benchmark, Check, Figure, Reference, Run, Scale, Target
from benchmarks.suite.logs import ENVIRONMENTS, EVENTS_TABLE, log
from benchmarks.suite.peers import BY_HAND, EVENTSOURCE, EVENTSOURCING, REFOLD_CONTENDER

CALLERS = 8
CASE = "8 callers"
EVENTS_AN_ACCOUNT = 20
CONTENDERS = (REFOLD, "handwritten", "eventsourcing", "eventsource")


def runs(scale: Scale) -> Sequence[Run]:
    """Each contender on its own copy of the same accounts."""
    accounts = scale.choose(10_000, 3000)
    events = accounts * EVENTS_AN_ACCOUNT
    return [
        Run(
            case=CASE,
            contender=contender,
            module=f"benchmarks.contenders.{contender}.commands",
            environment=ENVIRONMENTS[contender],
            arguments={"callers": CALLERS, "accounts": accounts, "events": events, "seconds": scale.seconds},
            seed=log(contender, accounts, events),
            checks=[Check(f"SELECT count(*) FROM {EVENTS_TABLE[contender]}", "stored")],
        )
        for contender in CONTENDERS
    ]


BENCHMARK = Benchmark(
    name="commands",
    title="Commands: load about 20 events, rule, append; 8 callers, Postgres",
    figures=[Figure("cold", "commands, cold", "/s"), Figure("warm", "commands, warm", "/s")],
    contenders=[REFOLD_CONTENDER, BY_HAND, EVENTSOURCING, EVENTSOURCE],
    baseline="eventsourcing",
    targets=[Target(CASE, "warm", "≥", 10, Reference(("eventsourcing", "eventsource")))],
    runs=runs,
)
