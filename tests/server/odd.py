"""A domain whose refusals and mistakes are odd."""

from __future__ import annotations

from refold import Aggregate, App, Command, Event, Rejected, decide


class Ordered(Event):
    pieces: int


class Order(Command):
    order_id: str
    pieces: int


class TooMany(Rejected):
    """Its text is made when it is asked for."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def __str__(self) -> str:
        return f"{self.pieces} are too many"


class Ordering(Aggregate, stream="order", id="order_id"):
    @decide
    def order(self, command: Order) -> Ordered:
        if 10 // command.pieces < 2:
            raise TooMany(command.pieces)
        return Ordered(pieces=command.pieces)


app = App("odd", aggregates=[Ordering])
