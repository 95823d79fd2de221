"""A transfer between two accounts of this bank: both sides are booked, or neither."""

from decimal import Decimal

from examples.bank.commands import ReceiveTransfer, SendTransfer
from refold import Conflict
from refold.app import Context

_ATTEMPTS = 10


async def transfer(bank: Context, amount: Decimal, *, sender: str, receiver: str, person: str | None = None) -> None:
    """Moves money in one transaction of the database. Raises `Rejected` when one of the two accounts refuses.

    When somebody else changed one of the accounts meanwhile, it is decided again on how they are now.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with bank.transaction(actor=person) as unit:
                await unit.command(SendTransfer(account_id=sender, amount=amount, to_account=receiver, person=person))
                await unit.command(ReceiveTransfer(account_id=receiver, amount=amount, from_account=sender))
            return
        except Conflict:
            if attempt == _ATTEMPTS:
                raise
