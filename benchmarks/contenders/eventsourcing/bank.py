"""The bank with eventsourcing: an aggregate with explicit event classes, and the application, in the library's
default mode.

The faster mode with database functions (POSTGRES_ENABLE_DB_FUNCTIONS) stays off: it loses events under concurrent
writers.
"""

import os
import uuid
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, datetime_now_with_tzinfo

from benchmarks import workload

MOST_CONNECTIONS = 32


class Account(Aggregate):
    """An account with a balance."""

    class Opened(Aggregate.Created):
        owner: str
        actor: str
        correlation_id: str
        causation_id: str
        command: str

    class MoneyDeposited(Aggregate.Event):
        amount: Decimal
        currency: str
        reference: str
        counterparty: str
        text: str
        actor: str
        correlation_id: str
        causation_id: str
        command: str

        def apply(self, aggregate: Any) -> None:
            aggregate.balance += self.amount

    class MoneyWithdrawn(MoneyDeposited):
        def apply(self, aggregate: Any) -> None:
            aggregate.balance -= self.amount

    def __init__(self, owner: str, actor: str, correlation_id: str, causation_id: str, command: str) -> None:
        self.owner = owner
        self.balance = Decimal(0)

    def withdraw(self, amount: Decimal, number: int) -> None:
        """The rule, then the event."""
        if self.balance < amount:
            raise ValueError(f"{self.id} has only {self.balance}")
        self.trigger_event(Account.MoneyWithdrawn, **deposit(amount, number))


class Bank(Application[uuid.UUID]):
    """The application."""


def metadata() -> dict[str, str]:
    """The usual metadata, which this library keeps as fields of the event."""
    return {
        "actor": workload.ACTOR,
        "correlation_id": str(uuid.uuid4()),
        "causation_id": str(uuid.uuid4()),
        "command": workload.COMMAND,
    }


def deposit(amount: Decimal, number: int) -> dict[str, Any]:
    """The fields of a deposit or withdrawal."""
    return {
        "amount": amount,
        "currency": workload.CURRENCY,
        "reference": workload.reference(number),
        "counterparty": workload.COUNTERPARTY,
        "text": workload.TEXT,
        **metadata(),
    }


def event(originator_id: uuid.UUID, version: int, amount: Decimal | None, number: int) -> Any:
    """One event outside of an aggregate, for appends and histories; no amount: the account is opened."""
    envelope = {"originator_id": originator_id, "originator_version": version, "timestamp": datetime_now_with_tzinfo()}
    if amount is None:
        topic = f"{Account.__module__}:{Account.__qualname__}"
        return Account.Opened(**envelope, originator_topic=topic, owner=workload.OWNER, **metadata())
    return Account.MoneyDeposited(**envelope, **deposit(amount, number))


def entry_event(entry: workload.Entry) -> Any:
    """The event of one entry of a history."""
    return event(workload.account_uuid(entry.account), entry.version, entry.amount, entry.number)


def settings(url: str, connections: int) -> dict[str, str]:
    """The library's configuration for a Postgres database."""
    address = urlsplit(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": address.path.removeprefix("/"),
        "POSTGRES_HOST": address.hostname or "",
        "POSTGRES_PORT": str(address.port),
        "POSTGRES_USER": address.username or "",
        "POSTGRES_PASSWORD": address.password or "",
        "POSTGRES_POOL_SIZE": str(min(connections, MOST_CONNECTIONS)),
        "POSTGRES_MAX_OVERFLOW": "0",
        "POSTGRES_CONNECT_TIMEOUT": "60",
    }


def open_bank(url: str, connections: int = 1, *, cache: int = 0, snapshots: bool = False) -> Bank:
    """The application on a Postgres database, its tables made; `cache` is how many aggregates it keeps."""
    os.environ.pop("POSTGRES_ENABLE_DB_FUNCTIONS", None)
    more = {"IS_SNAPSHOTTING_ENABLED": "yes"} if snapshots else {}
    if cache:
        more["AGGREGATE_CACHE_MAXSIZE"] = str(cache)
    return Bank(env=settings(url, connections) | more)
