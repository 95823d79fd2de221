"""A small domain for the tests of the kit: books that are lent."""

from datetime import datetime
from decimal import Decimal

import msgspec

from refold import Aggregate, Command, Event, ReadModel, Recorded, Rejected, decide, evolve


class BuyBook(Command):
    isbn: str
    title: str
    price: Decimal = Decimal(10)


class LendBook(Command):
    isbn: str
    reader: str


class ReturnBook(Command):
    isbn: str


class BookBought(Event):
    title: str
    price: Decimal


class BookLent(Event):
    reader: str


class BookReturned(Event):
    late: bool = False


class Book(Aggregate, stream="book", id="isbn"):
    title: str | None = None
    lent_to: str | None = None
    readers: list[str] = msgspec.field(default_factory=list)

    @decide
    def buy(self, command: BuyBook) -> BookBought:
        if self.title is not None:
            raise Rejected("this book is there already")
        return BookBought(title=command.title, price=command.price)

    @decide
    def lend(self, command: LendBook) -> list[BookReturned | BookLent]:
        if self.title is None:
            raise Rejected("no such book")
        if self.lent_to == command.reader:
            return []
        back = [BookReturned()] if self.lent_to is not None else []
        return [*back, BookLent(reader=command.reader)]

    @decide
    def give_back(self, command: ReturnBook) -> BookReturned | None:
        return BookReturned() if self.lent_to is not None else None

    @evolve
    def bought(self, event: BookBought) -> None:
        self.title = event.title

    @evolve
    def lent(self, event: BookLent) -> None:
        self.lent_to = event.reader
        self.readers.append(event.reader)

    @evolve
    def returned(self, event: BookReturned) -> None:
        self.lent_to = None


class Shelf(ReadModel, key="isbn"):
    isbn: str
    title: str = ""
    lent_since: datetime | None = None

    @evolve
    def bought(self, event: BookBought) -> None:
        self.title = event.title

    @evolve
    def lent(self, event: BookLent, recorded: Recorded[BookLent]) -> None:
        self.lent_since = recorded.occurred_at

    @evolve
    def returned(self, event: BookReturned) -> None:
        self.lent_since = None


class Reader(ReadModel, key="name"):
    name: str
    books: int = 0

    @evolve(key="reader")
    def lent(self, event: BookLent) -> None:
        self.books += 1
