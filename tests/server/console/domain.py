"""The bank, and beside it a shop in which everything occurs that the console must show: nested commands, lists,
choices, maps, numbers that no browser can hold, and rows that cannot be folded.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Literal

import msgspec

from examples.bank.account import Account
from examples.bank.read_models import AccountSummary, DailyBalance
from refold import Aggregate, App, Command, Event, ReadModel, Rejected, decide, evolve


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(msgspec.Struct, frozen=True):
    street: str
    city: str = "Praha"


class Line(msgspec.Struct, frozen=True):
    product: str
    price: Decimal
    quantity: int = 1


class PlaceOrder(Command):
    """Order things, for a `customer` who lives somewhere."""

    order_id: str
    customer: str
    lines: list[Line]
    colour: Colour = Colour.RED
    address: Address | None = None
    gift: bool = False
    notes: dict[str, str] = {}
    weight: int | None = None
    payment: Literal["card", "cash"] = "card"


class CancelOrder(Command):
    """Take an order back."""

    order_id: str
    why: str


class OrderPlaced(Event, tags=("customer",)):
    customer: str
    lines: list[Line]
    address: Address | None = None
    notes: dict[str, str] = {}
    weight: int | None = None


class OrderCancelled(Event):
    why: str


class Order(Aggregate, stream="order", id="order_id", snapshot_every=2):
    customer: str | None = None
    lines: list[Line] = []
    notes: dict[str, str] = {}
    cancelled: str | None = None

    @decide
    def place(self, command: PlaceOrder) -> OrderPlaced:
        if self.customer is not None:
            raise Rejected("this order is placed already")
        return OrderPlaced(
            customer=command.customer,
            lines=command.lines,
            address=command.address,
            notes=command.notes,
            weight=command.weight,
        )

    @decide
    def cancel(self, command: CancelOrder) -> OrderCancelled:
        if self.customer is None:
            raise Rejected("there is no such order")
        return OrderCancelled(why=command.why)

    @evolve
    def placed(self, event: OrderPlaced) -> None:
        self.customer, self.lines, self.notes = event.customer, event.lines, event.notes

    @evolve
    def was_cancelled(self, event: OrderCancelled) -> None:
        self.cancelled = event.why


class Parcel(ReadModel, key="order_id", on_error="park"):
    """What is sent; of a curse nobody can make a parcel."""

    order_id: str
    customer: str = ""
    notes: dict[str, str] = {}
    cancelled: bool = False

    @evolve
    def placed(self, event: OrderPlaced) -> None:
        if event.customer == "cursed":
            raise ValueError("no parcel can hold <b>a curse</b>")
        self.customer, self.notes = event.customer, event.notes

    @evolve
    def was_cancelled(self, event: OrderCancelled) -> None:
        self.cancelled = True


app = App("bank", aggregates=[Account, Order], read_models=[AccountSummary, DailyBalance, Parcel])
