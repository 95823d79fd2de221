"""The bank with eventsource-py: a decider aggregate, and the Postgres store with as many connections as callers.

Written for 0.15; where 0.8 (the newest for Python 3.11) differs, it says so.
"""

import logging
import uuid
from decimal import Decimal
from typing import Any

from eventsource import (
    AggregateRepository,
    DeciderAggregate,
    DomainEvent,
    PostgreSQLEventStore,
    create_async_engine,
    register_event,
)
from pydantic import BaseModel

from benchmarks import workload

try:
    from eventsource.adapters.sql.schemas import get_schema
except ImportError:  # 0.8
    from eventsource.migrations import get_schema

CATEGORY = "Account"
MOST_CONNECTIONS = 32

logging.getLogger("eventsource").setLevel(logging.ERROR)


@register_event
class AccountOpened(DomainEvent):
    aggregate_type: str = CATEGORY
    owner: str


@register_event
class MoneyDeposited(DomainEvent):
    aggregate_type: str = CATEGORY
    amount: Decimal
    currency: str
    reference: str
    counterparty: str
    text: str


@register_event
class MoneyWithdrawn(DomainEvent):
    aggregate_type: str = CATEGORY
    amount: Decimal
    currency: str
    reference: str
    counterparty: str
    text: str


class Withdraw(BaseModel):
    """The command."""

    account_id: uuid.UUID
    amount: Decimal
    number: int


class AccountState(BaseModel):
    """The state, immutable as the library's documentation has it."""

    model_config = {"frozen": True}

    owner: str = ""
    balance: Decimal = Decimal(0)


class Account(DeciderAggregate[AccountState]):
    """The decider."""

    aggregate_type = CATEGORY

    @staticmethod
    def initial_state(aggregate_id: uuid.UUID | None = None) -> AccountState:
        """The state before any event (0.8 gives the id)."""
        return AccountState()

    @staticmethod
    def decide(command: Any, state: AccountState) -> list[Any]:
        """The rule, then the event."""
        if state.balance < command.amount:
            raise ValueError(f"{command.account_id} has only {state.balance}")
        return [MoneyWithdrawn(aggregate_id=command.account_id, **deposit(command.amount, command.number))]

    @staticmethod
    def evolve(state: AccountState, event: Any) -> AccountState:
        """The fold."""
        match event:
            case MoneyDeposited(amount=amount):
                return state.model_copy(update={"balance": state.balance + amount})
            case MoneyWithdrawn(amount=amount):
                return state.model_copy(update={"balance": state.balance - amount})
            case AccountOpened(owner=owner):
                return state.model_copy(update={"owner": owner})
            case _:
                return state


def metadata() -> dict[str, Any]:
    """The usual metadata, in the library's own fields."""
    return {
        "actor_id": workload.ACTOR,
        "correlation_id": uuid.uuid4(),
        "causation_id": uuid.uuid4(),
        "metadata": {"command": workload.COMMAND},
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


def event(account: uuid.UUID, version: int, amount: Decimal | None, number: int) -> Any:
    """One event outside of an aggregate, for appends and histories; no amount: the account is opened."""
    envelope = {"aggregate_id": account, "aggregate_version": version}
    if amount is None:
        return AccountOpened(**envelope, owner=workload.OWNER, **metadata())
    return MoneyDeposited(**envelope, **deposit(amount, number))


def entry_event(entry: workload.Entry) -> Any:
    """The event of one entry of a history."""
    return event(workload.account_uuid(entry.account), entry.version, entry.amount, entry.number)


def open_engine(url: str, connections: int = 1) -> Any:
    """The SQLAlchemy engine, with a connection for each caller up to a bound."""
    size = min(connections, MOST_CONNECTIONS)
    address = url.replace("postgresql://", "postgresql+asyncpg://", 1)
    return create_async_engine(address, pool_size=size, max_overflow=0, pool_timeout=120)


async def open_store(engine: Any, *, create: bool = True) -> Any:
    """The event store; all the library's tables are made first."""
    if create:
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            await raw.driver_connection.execute(get_schema("all"))
            await connection.commit()
    return PostgreSQLEventStore(engine)


def repository(store: Any, **options: Any) -> Any:
    """The repository of accounts."""
    return AggregateRepository(event_store=store, aggregate_factory=Account, enable_tracing=False, **options)
