"""The server: commands over HTTP beside those in process, rows by key, one's own writes, the live log to many."""

from collections.abc import Sequence

from benchmarks.plan import REFOLD, Arguments, Benchmark, Check, Contender, Figure, Reference, Run, Scale, Seed, Target
from benchmarks.suite.logs import EVENTS_TABLE, log
from benchmarks.suite.peers import REFOLD_CONTENDER

CLIENTS = 32
EVENTS_AN_ACCOUNT = 20
IN_PROCESS, OVER_HTTP = "commands of 32 clients, in process", "commands of 32 clients, over HTTP"
ROWS = "a row by its key, and one's own write"
LIVE = "200 live streams, 100 events a second"


def runs(scale: Scale) -> Sequence[Run]:
    """One server process; the clients are in another, on the same two cores."""
    accounts = scale.choose(5_000, 2_000)
    events = accounts * EVENTS_AN_ACCOUNT
    common = {"clients": CLIENTS, "accounts": accounts, "events": events, "seconds": scale.seconds}
    following = {"clients": 200, "rate": 100, "seconds": scale.choose(10, 3)}
    seed = log(REFOLD, accounts, events)
    stored = [Check(f"SELECT count(*) FROM {EVENTS_TABLE[REFOLD]}", "stored")]
    return [
        _run(IN_PROCESS, "http_commands", seed, {**common, "http": False}, stored),
        _run(OVER_HTTP, "http_commands", seed, {**common, "http": True}, stored),
        _run(ROWS, "http_reads", seed, {**common, "writes": scale.choose(500, 50)}),
        _run(LIVE, "http_live", seed, following),
    ]


def _run(case: str, module: str, seed: Seed, arguments: Arguments, checks: Sequence[Check] = ()) -> Run:
    return Run(
        case=case,
        contender=REFOLD,
        module=f"benchmarks.contenders.refold.{module}",
        environment="project",
        arguments=arguments,
        seed=seed,
        checks=checks,
    )


BENCHMARK = Benchmark(
    name="http",
    title="The server: commands, rows and the live log over HTTP, Postgres",
    figures=[
        Figure("rate", "a second", "/s"),
        Figure("p99", "p99 at half load", "ms", "lower"),
        Figure("wait", "own write, p50", "ms", "lower"),
        Figure("late", "late, p99", "ms", "lower"),
        Figure("whole", "of all events", ""),
    ],
    contenders=[Contender(REFOLD_CONTENDER.key, REFOLD_CONTENDER.title)],
    baseline=REFOLD,
    targets=[
        Target(OVER_HTTP, "rate", "≥", 0.5, Reference((REFOLD,), case=IN_PROCESS)),
        Target(OVER_HTTP, "p99", "≤", 25),
        Target(ROWS, "rate", "≥", 2_000),
        Target(ROWS, "wait", "≤", 5),
        Target(LIVE, "rate", "≥", 19_000),
        Target(LIVE, "whole", "≥", 1),
    ],
    runs=runs,
)
