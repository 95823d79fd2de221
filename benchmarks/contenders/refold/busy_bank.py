"""The bank whose console is measured: two kinds of streams, events with tags, read models of many rows."""

import uuid
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from random import Random
from typing import Any

from benchmarks import workload
from benchmarks.contenders.refold.bank import Account, AccountOpened, MoneyDeposited, MoneyWithdrawn, deposited
from benchmarks.contenders.refold.seed import PAGE
from benchmarks.contenders.runner import serve
from refold import Aggregate, Event, Metadata, ReadModel, evolve
from refold.app import App
from refold.messages.event import event_tags
from refold.messages.event_types import encode_json
from refold.messages.metadata import encode_metadata
from refold.messages.recorded import NewEvent
from refold.store.append import Append, StreamAppend

CITIES = ("Brno", "Olomouc", "Ostrava", "Plzeň", "Praha", "Zlín")
SHOPS = 1_000
AUDITOR = "eva.auditor"
LONG = "account-0"
"""The stream that has a fiftieth of all events."""


class ShopOpened(Event):
    name: str
    city: str


class CardPaid(Event, tags="shop"):
    payment_id: str
    amount: Decimal
    shop: str
    city: str


class AccountFrozen(Event, tags="reason"):
    reason: str


class Shop(Aggregate, stream="shop", id="shop_id"):
    """A shop that takes cards."""

    name: str = ""

    @evolve
    def opened(self, event: ShopOpened) -> None:
        """Has a name now."""
        self.name = event.name


class BusyAccount(Account, stream="account", id="account_id", snapshot_every=1000):
    """An account with a card."""

    frozen: bool = False

    @evolve
    def paid(self, event: CardPaid) -> None:
        """The balance shrinks."""
        self.balance -= event.amount

    @evolve
    def froze(self, event: AccountFrozen) -> None:
        """Nothing more is paid."""
        self.frozen = True


class AccountSheet(ReadModel, key="account_id"):
    """One row an account: its owner, its money, and how often it moved."""

    account_id: str
    owner: str = ""
    balance: Decimal = Decimal(0)
    movements: int = 0
    last_reference: str | None = None
    frozen: bool = False

    @evolve
    def opened(self, event: AccountOpened) -> None:
        """Has an owner now."""
        self.owner = event.owner

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        """The balance grows."""
        self.balance += event.amount
        self.movements += 1
        self.last_reference = event.reference

    @evolve
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        """The balance shrinks."""
        self.balance -= event.amount
        self.movements += 1
        self.last_reference = event.reference

    @evolve
    def froze(self, event: AccountFrozen) -> None:
        """Nothing more is paid."""
        self.frozen = True


class Payment(ReadModel, key="payment_id", indexes=("amount", "shop", "city")):
    """One row for each payment with a card, of which there are so many that lists by a field want an index."""

    payment_id: str
    amount: Decimal = Decimal(0)
    shop: str = ""
    city: str = ""

    @evolve(key="payment_id")
    def paid(self, event: CardPaid) -> None:
        """What was paid, and where."""
        self.amount = event.amount
        self.shop = event.shop
        self.city = event.city


app = App("bank", aggregates=[BusyAccount, Shop], read_models=[AccountSheet, Payment])


async def write(arguments: dict[str, Any]) -> dict[str, Any]:
    """`events` events over `accounts` accounts, and the read models' rows of them."""
    events = _events(arguments["accounts"], arguments["events"])
    versions: dict[str, int] = {}
    async with app.connect(arguments["url"], projections=False) as bank:
        while page := list(islice(events, PAGE)):
            await bank.store.append(Append(tuple(_parts(page, versions))))
        for read_model in (AccountSheet, Payment):
            await bank.rebuild(read_model)
    return {}


def _events(accounts: int, number: int) -> Iterator[tuple[str, str, Event]]:
    """Stream, actor and event: shops and accounts are opened, then accounts move at random."""
    chance = Random(accounts)
    for shop in range(SHOPS):
        yield f"shop-{shop}", workload.ACTOR, ShopOpened(name=f"Shop no. {shop}", city=CITIES[shop % len(CITIES)])
    for account in range(accounts):
        yield f"account-{account}", workload.ACTOR, AccountOpened(owner=f"{workload.OWNER} {account % 9973}")
    for at in range(SHOPS + accounts, number):
        stream = LONG if at % 50 == 0 else f"account-{chance.randrange(accounts)}"
        if at % 100_003 == 0:
            yield stream, AUDITOR, AccountFrozen(reason="audit")
        elif at % 5 == 1:
            yield stream, workload.ACTOR, _payment(at, chance.randrange(SHOPS))
        elif at % 11 == 0:
            yield stream, workload.ACTOR, _withdrawn(at)
        else:
            yield stream, workload.ACTOR, deposited(workload.amount(at), at)


def _payment(at: int, shop: int) -> CardPaid:
    return CardPaid(
        payment_id=f"p-{at}", amount=workload.amount(at) / 10, shop=str(shop), city=CITIES[shop % len(CITIES)]
    )


def _withdrawn(at: int) -> MoneyWithdrawn:
    return MoneyWithdrawn(
        amount=workload.PENNY,
        currency=workload.CURRENCY,
        reference=workload.reference(at),
        counterparty=workload.COUNTERPARTY,
        text=workload.TEXT,
    )


def _parts(page: list[tuple[str, str, Event]], versions: dict[str, int]) -> Iterator[StreamAppend]:
    streams: dict[str, list[NewEvent]] = {}
    for stream, actor, event in page:
        streams.setdefault(stream, []).append(_new_event(event, actor))
    for stream, events in streams.items():
        before = versions.get(stream, 0)
        versions[stream] = before + len(events)
        yield StreamAppend(stream, before, tuple(events))


def _new_event(event: Event, actor: str) -> NewEvent:
    metadata = Metadata(
        actor=actor,
        correlation_id=str(uuid.uuid4()),
        causation_id=str(uuid.uuid4()),
        command=workload.COMMAND,
    )
    return NewEvent(
        type=type(event).__message_name__,
        payload=encode_json(event),
        metadata=encode_metadata(metadata),
        tags=event_tags(event),
    )


if __name__ == "__main__":
    serve(write)
