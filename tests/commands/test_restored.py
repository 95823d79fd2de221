"""The log is restored from a backup while this process runs: what it kept in memory belongs to another history."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from refold import Rejected
from refold.app import Context
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore
from tests.domain import Account, DepositMoney, OpenAccount, WithdrawMoney, bank
from tests.operations.tampering import PostgresTamperer, SqliteTamperer

_OTHER = b"\x01" * 16


def put_another_history(where: str | EventStore) -> None:
    """The last event of account 42 becomes another append's, of 1 in place of 100: as many events, other ones."""
    if isinstance(where, MemoryStore):
        last = where._log[-1]
        where._log[-1] = msgspec.structs.replace(last, append_id=_OTHER, payload=b'{"amount":"1"}')
        return
    assert isinstance(where, str)
    sqlite = where.startswith("sqlite")
    tamperer = SqliteTamperer(where.removeprefix("sqlite:///")) if sqlite else PostgresTamperer(where)
    tamperer.remove_guards()
    other = f"x'{_OTHER.hex()}'" if sqlite else f"'{_OTHER.hex()}'"
    tamperer.run(f"""update {{events}} set append_id = {other}, payload = '{{"amount":"1"}}' where position = 2""")


async def begun(context: Context) -> None:
    await context.execute(OpenAccount(account_id="42", owner="alice"))
    await context.execute(DepositMoney(account_id="42", amount=Decimal(100)))


async def test_an_accepted_command_rests_on_the_events_that_are_there(where: str | EventStore):
    async with bank.connect(where, projections=False) as context:
        await begun(context)
        put_another_history(where)
        with pytest.raises(Rejected, match="only 1 is there"):
            await context.execute(WithdrawMoney(account_id="42", amount=Decimal(60)))
        assert await context.store.stream_version("account-42") == 2
        await context.execute(WithdrawMoney(account_id="42", amount=Decimal(1)))
        assert (await context.load(Account, "42")).balance == 0


async def test_a_refused_command_is_decided_on_the_events_that_are_there(where: str | EventStore):
    async with bank.connect(where, projections=False) as context:
        await begun(context)
        put_another_history(where)
        with pytest.raises(Rejected, match="only 1 is there"):
            await context.execute(WithdrawMoney(account_id="42", amount=Decimal(600)))
