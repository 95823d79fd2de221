"""The read model, both ways that the library has: a transaction for each event (DatabaseProjection), or bulk writes
(handle_batch).

Either way the checkpoint is saved in a transaction of its own: a crash between the two counts events twice.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from eventsource import DatabaseProjection, InMemoryEventBus, SQLCheckpointRepository, handles
from eventsource.application.subscriptions import BatchAwareSubscriber, SubscriptionConfig, SubscriptionManager
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker

from benchmarks.contenders.eventsource.bank import AccountOpened, MoneyDeposited

TABLE = "CREATE TABLE IF NOT EXISTS balances (account_id uuid PRIMARY KEY, balance numeric NOT NULL)"
UPSERT = text(
    "INSERT INTO balances VALUES (:account, :amount)"
    " ON CONFLICT (account_id) DO UPDATE SET balance = balances.balance + excluded.balance"
)
BULK_UPSERT = text(
    "INSERT INTO balances SELECT * FROM unnest(CAST(:accounts AS uuid[]), CAST(:amounts AS numeric[]))"
    " ON CONFLICT (account_id) DO UPDATE SET balance = balances.balance + excluded.balance"
)
BATCH = 1000


class BalancesByEvent(DatabaseProjection):
    """One transaction for each event; the manager saves the position after each batch."""

    def __init__(self, engine: Any) -> None:
        super().__init__(async_sessionmaker(engine, expire_on_commit=False))
        self.handled = 0

    @handles(AccountOpened)
    async def opened(self, connection: Any, event: AccountOpened) -> None:
        """A row for the account."""
        await self._add(connection, event.aggregate_id, Decimal(0))

    @handles(MoneyDeposited)
    async def deposited(self, connection: Any, event: MoneyDeposited) -> None:
        """The balance grows."""
        await self._add(connection, event.aggregate_id, event.amount)

    async def _add(self, connection: Any, account: UUID, amount: Decimal) -> None:
        await connection.execute(UPSERT, {"account": account, "amount": amount})
        self.handled += 1


class BalancesByBatch(BatchAwareSubscriber):
    """One bulk upsert for each batch."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.handled = 0

    def subscribed_to(self) -> list[Any]:
        """The types of events."""
        return [AccountOpened, MoneyDeposited]

    async def handle(self, event: Any) -> None:
        """One event (0.8 never gives more)."""
        await self.handle_batch([event])

    async def handle_batch(self, events: Sequence[Any]) -> None:
        """Fold, then write."""
        changes: defaultdict[UUID, Decimal] = defaultdict(Decimal)
        for event in events:
            changes[event.aggregate_id] += event.amount if isinstance(event, MoneyDeposited) else 0
        async with self._engine.begin() as connection:
            await connection.execute(BULK_UPSERT, {"accounts": list(changes), "amounts": list(changes.values())})
        self.handled += len(events)


async def manage(engine: Any, store: Any, bus: InMemoryEventBus, subscriber: Any) -> Any:
    """The manager with one subscription, to be started."""
    async with engine.begin() as connection:
        await connection.execute(text(TABLE))
    manager = SubscriptionManager(
        store, bus, SQLCheckpointRepository(engine, enable_tracing=False), enable_tracing=False
    )
    config = SubscriptionConfig(start_from="beginning", batch_size=BATCH, continue_on_error=False)
    await manager.subscribe(subscriber, config, name="balances")
    return manager
