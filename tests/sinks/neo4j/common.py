"""Read models whose rows are relationships."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import Move
from refold.projections.row_store import RowStore, Standing

AccountId = Annotated[str, msgspec.Meta(extra={"node": "Account"})]


class Paid(Event, name="Neo4jTestPaid"):
    to: str
    amount: Decimal


class Payment(ReadModel, key=("payer", "payee"), name="payment"):
    """Who pays whom."""

    payer: AccountId
    payee: AccountId
    amount: Decimal = Decimal(0)
    times: int = 0
    last: datetime | None = None

    @evolve(key=lambda event, recorded: (recorded.stream_key, event.to))
    def paid(self, event: Paid) -> None:
        self.amount += event.amount
        self.times += 1


PAYMENT = read_model_of(Payment)


async def paying(rows: RowStore, table: str = "payment") -> None:
    """An empty table of payments."""
    await rows.create(PAYMENT, table, {table: Standing(fingerprint=PAYMENT.fingerprint, epoch=1)})


async def pay(rows: RowStore, *pairs: str, deleted: str = "", table: str = "payment", times: int = 1) -> None:
    """Writes the next position: payments such as "ab", from a to b; `deleted` are such pairs too, "ab cd"."""
    stands = await rows.standing(table)
    assert stands is not None
    at = stands.position
    page = [Payment(payer=pair[0], payee=pair[1], times=times, amount=Decimal(times)) for pair in pairs]
    gone = [tuple(pair) for pair in deleted.split()]
    assert await rows.write(PAYMENT, table, page, gone, Move(at, at + 1, "x", 1))
