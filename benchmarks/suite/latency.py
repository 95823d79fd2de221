"""From the commit's acknowledgement to the row that a reader sees, with the worker in a process of its own, at 100
appends a second.
"""

from collections.abc import Sequence

from benchmarks import workload
from benchmarks.plan import REFOLD, Benchmark, Check, Contender, Figure, Run, Scale, Target
from benchmarks.suite.logs import ENVIRONMENTS, EVENTS_TABLE
from benchmarks.suite.peers import EVENTSOURCING, REFOLD_CONTENDER

CASE = "100 appends a second"
ACCOUNTS = 100
SAME_PROCESS = Contender(
    "eventsource",
    "eventsource-py 0.15",
    "in the writer's own process: without a message broker it cannot tell another one",
)
BALANCE = "SELECT balance FROM {table} WHERE account_id = %s"
COUNT = "SELECT count(*) FROM {table}"


def runs(scale: Scale) -> Sequence[Run]:
    """Each contender with its writer, its worker and its table."""
    uuids = [str(workload.account_uuid(number)) for number in range(ACCOUNTS)]
    numbers = [str(number) for number in range(ACCOUNTS)]
    return [
        _run(scale, REFOLD, "account_balance", numbers),
        _run(scale, "eventsourcing", "balances", uuids),
        _run(scale, "eventsource", "balances", uuids),
    ]


def _run(scale: Scale, contender: str, table: str, keys: Sequence[str]) -> Run:
    package = f"benchmarks.contenders.{contender}"
    appends = scale.choose(2500, 600)
    return Run(
        case=CASE,
        contender=contender,
        module="benchmarks.contenders.latency_probe",
        environment="project",
        peer=ENVIRONMENTS[contender],
        arguments={
            "writer": f"{package}.writer",
            "worker": None if contender == SAME_PROCESS.key else f"{package}.worker",
            "rate": 100,
            "appends": appends,
            "accounts": ACCOUNTS,
            "keys": list(keys),
            "balance_sql": BALANCE.format(table=table),
            "count_sql": COUNT.format(table=table),
            "idle_seconds": scale.choose(20, 5),
        },
        checks=[
            Check(f"SELECT count(*) FROM {EVENTS_TABLE[contender]}", appends + ACCOUNTS),
            Check(f"SELECT sum(balance) FROM {table}", appends),
        ],
    )


BENCHMARK = Benchmark(
    name="latency",
    title="Commit to visible in the read model, worker in its own process, Postgres",
    figures=[
        Figure("p50", "median", "ms", "lower"),
        Figure("p99", "99th percentile", "ms", "lower"),
        Figure("worst", "worst", "ms", "lower"),
        Figure("idle", "idle worker", "% of a core", "lower"),
    ],
    contenders=[REFOLD_CONTENDER, EVENTSOURCING, SAME_PROCESS],
    baseline="eventsourcing",
    targets=[Target(CASE, "p50", "≤", 1.8), Target(CASE, "p99", "≤", 5), Target(CASE, "idle", "≤", 1)],
    runs=runs,
)
