"""A disk that takes what is written, and refuses to flush it: SQLite rolls back, and what was committed stands in the
write-ahead log all the same, where whoever opens the file after a kill would find it. So it is overwritten before
anybody is told that nothing was stored.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest

from refold import faults
from refold.app import Context
from refold.errors import OutcomeUnknown, StoreFull, StoreUnavailable
from refold.store.append import AppendResult
from refold.store.sqlite import committing
from refold.store.sqlite.store import SqliteStore
from tests.domain import DepositMoney, MoneyDeposited, bank

UNFLUSHED = "SQLITE_IOERR_FSYNC"


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    yield
    faults.install(None)


def fail_once(point: str) -> None:
    """The commit at this point is refused as SQLite would say it."""

    def hook(name: str) -> None:
        if name == point:
            faults.install(None)
            problem = sqlite3.OperationalError("disk I/O error")
            problem.sqlite_errorname = UNFLUSHED
            raise problem

    faults.install(hook)


def never(connection: sqlite3.Connection) -> bool:
    return False


async def deposit(context: Context) -> None:
    async with context.transaction() as unit:
        await unit.execute("insert into notes values ('a')")
        await unit.command(DepositMoney(account_id="1", amount=Decimal(1)))


async def test_a_unit_of_work_is_surely_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrites: list[bool] = []

    def watched(connection: sqlite3.Connection) -> bool:
        overwrites.append(committing.overwritten(connection))
        return overwrites[-1]

    monkeypatch.setattr("refold.store.sqlite.transaction.overwritten", watched)
    async with bank.connect(f"sqlite:///{tmp_path}/bank.db", projections=False) as context:
        async with context.transaction() as unit:
            await unit.execute("create table notes (note text)")
        fail_once("sqlite.transaction.before_commit")
        with pytest.raises(StoreFull):
            await deposit(context)
        assert overwrites == [True]
        assert await context.history("account-1") == []
        await deposit(context)
        (recorded,) = await context.history("account-1")
        assert recorded.position == 1


async def test_a_unit_of_work_that_may_be_there_is_not_told_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk does not take the commit that would overwrite it either."""
    monkeypatch.setattr("refold.store.sqlite.transaction.overwritten", never)
    monkeypatch.setattr("refold.store.sqlite.writer.overwritten", never)
    async with bank.connect(f"sqlite:///{tmp_path}/bank.db", projections=False) as context:
        async with context.transaction() as unit:
            await unit.execute("create table notes (note text)")
        fail_once("sqlite.transaction.before_commit")
        with pytest.raises(OutcomeUnknown, match="did not take what was committed"):
            await deposit(context)


@pytest.mark.parametrize("several", [1, 3])
@pytest.mark.parametrize("gone", [True, False])
async def test_appends_that_were_not_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: int, gone: bool
) -> None:
    """Overwritten, a lone one is surely not stored, and several are tried one by one; else nobody knows."""
    if not gone:
        monkeypatch.setattr(committing, "overwritten", never)
    async with bank.connect(f"sqlite:///{tmp_path}/bank.db", projections=False) as context:
        fail_once("sqlite.append.begin")
        deposited = [context.append(f"account-{n}", [MoneyDeposited(amount=Decimal(1))]) for n in range(several)]
        outcomes = await asyncio.gather(*deposited, return_exceptions=True)
        expected = OutcomeUnknown if not gone else StoreFull if several == 1 else AppendResult
        assert [type(each) for each in outcomes] == [expected] * several
        assert (await context.store.head()).position == (several if expected is AppendResult else 0)


async def test_what_an_operator_did_is_surely_not_done_or_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unflushed(connection: sqlite3.Connection) -> None:
        problem = sqlite3.OperationalError("disk I/O error")
        problem.sqlite_errorname = UNFLUSHED
        raise problem

    async with bank.connect(f"sqlite:///{tmp_path}/bank.db", projections=False) as context:
        writer = cast("SqliteStore", context.store)._writing()
        with pytest.raises(StoreFull):
            await writer.transact(unflushed, durable=True)
        monkeypatch.setattr("refold.store.sqlite.writer.overwritten", never)
        with pytest.raises(StoreUnavailable, match="whether it is stored is not known"):
            await writer.transact(unflushed, durable=True)
