"""The web console on a long log: its first page, and every list that it has, as its pages ask for them."""

from collections.abc import Sequence

from benchmarks.plan import REFOLD, Benchmark, Check, Contender, Figure, Run, Scale, Seed, Target
from benchmarks.suite.logs import EVENTS_TABLE
from benchmarks.suite.peers import REFOLD_CONTENDER

CASE = "5,000,000 events"
LISTS = {
    "log": "the log, filtered and deep",
    "event": "an event and its conversation",
    "streams": "streams",
    "stream": "a stream, also of 100,000 events",
    "state": "a state, at any version",
    "long state": "a state of 100,000 events",
    "rows": "200,000 rows, sorted and filtered",
    "many rows": "960,000 rows, sorted and filtered",
    "row": "a row and its events",
    "row then": "a row as it was",
    "operations": "operations and status",
}
"""What is asked for together, by its key in the runner's answer."""


def runs(scale: Scale) -> Sequence[Run]:
    """One server process, and one client that asks as a browser does."""
    size = {"accounts": scale.choose(200_000, 2_000), "events": scale.choose(5_000_000, 50_000)}
    return [
        Run(
            case=CASE,
            contender=REFOLD,
            module="benchmarks.contenders.refold.console",
            environment="project",
            arguments=size,
            seed=Seed(
                key=f"the busy bank: {size['events']} events, {size['accounts']} accounts",
                module="benchmarks.contenders.refold.busy_bank",
                arguments=size,
                environment="project",
            ),
            checks=[Check(f"SELECT count(*) FROM {EVENTS_TABLE[REFOLD]}", size["events"])],
        )
    ]


BENCHMARK = Benchmark(
    name="console",
    title="The web console on 5,000,000 events: milliseconds of each kind of list, Postgres",
    figures=[
        Figure("browser", "first page in Chromium, usable", "ms", "lower"),
        Figure("opened", "first page, all that it is made of", "ms", "lower"),
        *(
            Figure(f"{key}{suffix}", f"{title}: {what}", "ms", "lower")
            for key, title in LISTS.items()
            for suffix, what in (("", "p50 of the slowest"), (" worst", "worst call"))
        ),
    ],
    contenders=[Contender(REFOLD_CONTENDER.key, REFOLD_CONTENDER.title)],
    baseline=REFOLD,
    targets=[
        Target(CASE, "browser", "≤", 1_000),
        Target(CASE, "opened", "≤", 1_000),
        *(Target(CASE, f"{key}{suffix}", "≤", 200) for key in LISTS for suffix in ("", " worst")),
    ],
    runs=runs,
)
