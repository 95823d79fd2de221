"""The logs that several benchmarks start from, written by each contender's own means."""

from benchmarks.plan import Environment, Seed

ENVIRONMENTS: dict[str, Environment] = {
    "refold": "project",
    "handwritten": "peers",
    "eventsourcing": "peers",
    "eventsource": "eventsource",
}


def log(contender: str, accounts: int, events: int) -> Seed:
    """A log of so many events over so many accounts; with one account it is one long stream."""
    return Seed(
        key=f"{contender}: {events} events, {accounts} accounts",
        module=f"benchmarks.contenders.{contender}.seed",
        arguments={"accounts": accounts, "events": events},
        environment=ENVIRONMENTS[contender],
    )


EVENTS_TABLE = {
    "refold": "refold.events",
    "handwritten": "events",
    "eventsourcing": "bank_events",
    "eventsource": "events",
}
"""Where each contender keeps its events, for checking from outside."""
