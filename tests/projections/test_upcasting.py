"""A log that three releases wrote is one to everybody who reads it: loads, rows, rebuilds; and the release before stops
where it cannot follow, and the next one goes on.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from refold import Aggregate, App, Command, Event, ReadModel, decide, evolve
from refold.errors import StaleRead, UnknownVersion
from refold.messages.recorded import NewEvent
from refold.operations.verify import verify
from refold.store.append import ANY, Append, StreamAppend
from refold.store.event_store import EventStore
from tests.projections.stores import place


def in_units(payload: dict[str, Any]) -> dict[str, Any]:
    return {"amount": str(Decimal(payload["cents"]) / 100)}


def with_a_currency(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "currency": "EUR"}


class Paid(Event, name="Paid", version=3, upcasters={1: in_units, 2: with_a_currency}):
    amount: Decimal
    currency: str


class PaidBefore(Event, name="Paid", version=2, upcasters={1: in_units}):
    amount: Decimal


class Pay(Command):
    account_id: str
    amount: Decimal


class Account(Aggregate, stream="account", id="account_id", snapshot_every=5):
    paid: Decimal = Decimal(0)
    currencies: list[str] = []

    @decide
    def pay(self, command: Pay) -> Paid:
        return Paid(amount=command.amount, currency="USD")

    @evolve
    def was_paid(self, event: Paid) -> None:
        self.paid += event.amount
        self.currencies = [*self.currencies, event.currency]


class Balance(ReadModel, key="account_id", name="balance"):
    account_id: str
    paid: Decimal = Decimal(0)
    currency: str = ""

    @evolve
    def was_paid(self, event: Paid) -> None:
        self.paid += event.amount
        self.currency = event.currency


class InlineBalance(ReadModel, key="account_id", inline=True):
    account_id: str
    paid: Decimal = Decimal(0)

    @evolve
    def was_paid(self, event: Paid) -> None:
        self.paid += event.amount


class BalanceBefore(ReadModel, key="account_id", name="balance"):
    account_id: str
    paid: Decimal = Decimal(0)

    @evolve
    def was_paid(self, event: PaidBefore) -> None:
        self.paid += event.amount


today = App("pays", aggregates=[Account], read_models=[Balance, InlineBalance])
before = App("pays", read_models=[BalanceBefore])
ROW = Balance(account_id="1", paid=Decimal("16.60"), currency="EUR")


async def write(store: EventStore, *written: tuple[int, bytes]) -> int:
    """What older releases wrote."""
    events = tuple(NewEvent(type="Paid", payload=payload, schema_version=version) for version, payload in written)
    return (await store.append(Append((StreamAppend("account-1", ANY, events),)))).last


async def fill(store: EventStore) -> int:
    await write(store, (1, b'{"cents":1250}'), (2, b'{"amount":"3.10"}'))
    return await write(store, (3, b'{"amount":"1","currency":"EUR"}'))


async def test_every_reader_reads_what_old_releases_wrote(where: str | EventStore) -> None:
    async with today.connect(where) as context:
        last = await fill(context.store)
        assert await context.get(Balance, "1", after=last) == ROW
        assert await context.get(Balance, "1", fresh=True) == ROW
        assert (await context.load(Account, "1")).currencies == ["EUR", "EUR", "EUR"]
        assert (await context.load(Account, "1", at_version=1)).paid == Decimal("12.5")
        amounts = [Decimal("12.5"), Decimal("3.10"), Decimal(1)]
        assert [each.event.amount for each in await context.history("account-1")] == amounts
        assert [each.schema_version for each in await context.history("account-1")] == [1, 2, 3]
        receipt = await context.execute(Pay(account_id="1", amount=Decimal(2)))
        row = await context.get(Balance, "1", after=receipt)
        assert row == Balance(account_id="1", paid=Decimal("18.60"), currency="USD")
        await context.rebuild(Balance)
        assert await context.get(Balance, "1") == row
        await context.rebuild(InlineBalance)
        assert await context.get(InlineBalance, "1") == InlineBalance(account_id="1", paid=Decimal("18.60"))
        await context._commands.snapshots.settled()
        report = await verify(context.store, context.projections.sink, today)
        assert report.ok, report


@pytest.mark.postgres
async def test_a_rebuild_in_several_processes_reads_them_too(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with today.connect(place("postgres", request, tmp_path), projections=False) as context:
        for _ in range(20):
            await fill(context.store)
        await context.rebuild(Balance, jobs=2)
        assert await context.get(Balance, "1") == Balance(account_id="1", paid=Decimal("332.00"), currency="EUR")


async def test_the_release_before_stops_at_what_it_cannot_read_and_the_next_one_goes_on(
    where: str | EventStore,
) -> None:
    """Its fields would fit, and be read as something else."""
    async with before.connect(where) as old:
        last = await write(old.store, (1, b'{"cents":1250}'), (2, b'{"amount":"3.10"}'))
        assert (await old.get(BalanceBefore, "1", after=last)) == BalanceBefore(account_id="1", paid=Decimal("15.60"))
        last = await write(old.store, (3, b'{"amount":"1","currency":"EUR"}'))
        with pytest.raises(StaleRead, match=r"position 3 .* was written as version 3 .* up to version 2"):
            await old.get(BalanceBefore, "1", after=last)
        with pytest.raises(UnknownVersion):
            await old.history("account-1")
        assert await old.get(BalanceBefore, "1") == BalanceBefore(account_id="1", paid=Decimal("15.60"))
    async with today.connect(where) as new:
        assert await new.get(Balance, "1", after=last, timeout=30) == ROW
