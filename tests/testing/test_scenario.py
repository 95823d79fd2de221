"""The kit says yes to what is right, and a readable no to everything else."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from refold import Aggregate, App, Command, Event, Metadata, ReadModel, Recorded, decide, evolve
from refold.errors import DefinitionError, FoldFailed, InvalidAppend, InvalidCommand, UnknownCommand
from refold.testing import Scenario, on
from tests.testing.library import (
    Book,
    BookBought,
    BookLent,
    BookReturned,
    BuyBook,
    LendBook,
    Reader,
    ReturnBook,
    Shelf,
)

scenario = Scenario(Book)
given = scenario.given
library = Scenario(App("library", aggregates=[Book], read_models=[Shelf, Reader]))

BOUGHT = BookBought(title="Emma", price=Decimal(10))
MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


class TestACommand:
    def test_leads_to_its_events(self):
        given(BOUGHT).when(LendBook(isbn="1", reader="ann")).then(BookLent(reader="ann"))

    def test_leads_to_several_events_in_order(self):
        given(BOUGHT, BookLent(reader="ann")).when(LendBook(isbn="1", reader="bob")).then(
            BookReturned(), BookLent(reader="bob")
        )

    def test_may_change_nothing(self):
        given(BOUGHT).when(ReturnBook(isbn="1")).then_nothing()

    def test_is_rejected_for_a_reason(self):
        given(BOUGHT).when(BuyBook(isbn="1", title="Emma")).rejects("there already")

    def test_can_come_first(self):
        scenario.when(BuyBook(isbn="1", title="Emma")).then(BOUGHT)

    def test_can_follow_another(self):
        scenario.when(BuyBook(isbn="1", title="Emma")).then(BOUGHT).when(LendBook(isbn="1", reader="ann")).then(
            BookLent(reader="ann")
        ).then_state(lent_to="ann", readers=["ann"])

    def test_is_validated_and_converted_as_in_production(self):
        scenario.when(BuyBook(isbn="1", title="Emma", price=10)).then(BOUGHT)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(InvalidCommand, match="title"):
            scenario.when(BuyBook(isbn="1", title=7))  # type: ignore[arg-type]  # on purpose

    def test_sees_the_events_of_its_own_stream_only(self):
        other = on("book-2", BookBought(title="Persuasion", price=Decimal(8)))
        given(other).when(LendBook(isbn="1", reader="ann")).rejects("no such book")
        given(other).when(LendBook(isbn="2", reader="ann")).then(BookLent(reader="ann"))

    def test_that_nobody_decides_is_named(self):
        class BurnBook(Command):
            isbn: str

        with pytest.raises(UnknownCommand, match="BurnBook"):
            scenario.when(BurnBook(isbn="1"))


class TestAFailureShows:
    def test_the_events_that_differ(self):
        decision = given(BOUGHT, BookLent(reader="ann")).when(LendBook(isbn="1", reader="bob"))
        with pytest.raises(AssertionError) as failure:
            decision.then(BookReturned(late=True), BookLent(reader="bob"))
        assert str(failure.value).splitlines() == [
            "LendBook(isbn='1', reader='bob') led to other events:",
            "  - expected, + what came",
            "  - BookReturned(late=True)",
            "  ?                   ^^^",
            "  + BookReturned(late=False)",
            "  ?                   ^^^^",
            "    BookLent(reader='bob')",
        ]

    def test_a_missing_event(self):
        with pytest.raises(AssertionError, match=r"\+ BookReturned\(late=False\)"):
            given(BOUGHT, BookLent(reader="ann")).when(LendBook(isbn="1", reader="bob")).then(BookLent(reader="bob"))

    def test_that_it_was_rejected_and_why(self):
        with pytest.raises(AssertionError, match="was rejected: no such book"):
            scenario.when(LendBook(isbn="1", reader="ann")).then(BookLent(reader="ann"))
        with pytest.raises(AssertionError, match="was rejected: no such book"):
            scenario.when(LendBook(isbn="1", reader="ann")).then_nothing()

    def test_that_it_was_accepted(self):
        with pytest.raises(AssertionError, match=r"was to be rejected, but led to\n    BookLent\(reader='ann'\)"):
            given(BOUGHT).when(LendBook(isbn="1", reader="ann")).rejects()

    def test_another_reason(self):
        with pytest.raises(AssertionError, match=r"(?s)another reason.*no such author.*no such book"):
            scenario.when(LendBook(isbn="1", reader="ann")).rejects("no such author")

    def test_what_happened_instead_of_nothing(self):
        with pytest.raises(AssertionError, match="was to change nothing, but led to"):
            given(BOUGHT).when(LendBook(isbn="1", reader="ann")).then_nothing()

    def test_the_fields_of_the_state_that_differ(self):
        with pytest.raises(AssertionError, match="lent_to is None, not 'ann'"):
            given(BOUGHT).then_state(lent_to="ann", title="Emma")
        with pytest.raises(AssertionError, match="Emma"):
            given(BOUGHT).then_state(lambda book: book.title == "Persuasion")

    def test_rows_that_differ_but_not_how_an_equal_amount_is_written(self):
        class Paid(Event):
            amount: Decimal

        class Purse(ReadModel, key="name"):
            name: str
            amount: Decimal = Decimal(0)
            coins: int = 0

            @evolve
            def paid(self, event: Paid) -> None:
                self.amount += event.amount
                self.coins += 1

        purse = Scenario(Purse).given(on("purse-ann", Paid(amount=Decimal("5.00"))))
        purse.then(Purse(name="ann", amount=Decimal(5), coins=1))
        with pytest.raises(AssertionError, match=r"(?s)Purse has other rows.*- Purse.*coins=2.*\+ Purse.*coins=1"):
            purse.then(Purse(name="ann", amount=Decimal(5), coins=2))


class TestTheState:
    def test_is_folded_from_what_was_given(self):
        given(BOUGHT, BookLent(reader="ann")).then_state(lambda book: book.lent_to == "ann")
        assert given(BOUGHT).state == Book(title="Emma")
        assert given().state == Book()

    def test_may_be_checked_by_a_function_that_asserts_itself(self):
        def check(book: Book) -> None:
            assert book.readers == ["ann"]

        given(BOUGHT, BookLent(reader="ann")).then_state(check)

    def test_has_no_such_field(self):
        with pytest.raises(TypeError, match="Book has no field author"):
            given(BOUGHT).then_state(author="Austen")

    def test_after_a_rejection_is_the_state_before(self):
        given(BOUGHT).when(BuyBook(isbn="1", title="Emma")).rejects().then_state(title="Emma")

    def test_of_several_streams_is_ambiguous(self):
        with pytest.raises(TypeError, match="which stream"):
            _ = given(on("book-1", BOUGHT), on("book-2", BOUGHT)).state


class TestAReadModel:
    shelf = Scenario(Shelf)

    def test_has_exactly_these_rows(self):
        self.shelf.given(on("book-1", BOUGHT), on("book-2", BOUGHT, BookLent(reader="ann"), occurred_at=MONDAY)).then(
            Shelf(isbn="2", title="Emma", lent_since=MONDAY), Shelf(isbn="1", title="Emma")
        )
        with pytest.raises(AssertionError, match=r"\+ Shelf\(isbn='2'"):
            self.shelf.given(on("book-1", BOUGHT), on("book-2", BOUGHT)).then(Shelf(isbn="1", title="Emma"))

    def test_may_have_none(self):
        self.shelf.given().then_nothing()
        with pytest.raises(AssertionError, match="expected no row of Shelf"):
            self.shelf.given(on("book-1", BOUGHT)).then_nothing()

    def test_gives_its_rows_in_order_of_their_keys(self):
        assert self.shelf.given(on("book-2", BOUGHT), on("book-1", BOUGHT)).rows(Shelf) == [
            Shelf(isbn="1", title="Emma"),
            Shelf(isbn="2", title="Emma"),
        ]

    def test_needs_to_know_the_stream_when_its_key_is_the_stream(self):
        with pytest.raises(TypeError, match="of which stream"):
            self.shelf.given(BOUGHT).then(Shelf(isbn="1", title="Emma"))

    def test_needs_no_stream_when_its_key_is_a_field(self):
        Scenario(Reader).given(BookLent(reader="ann"), BookLent(reader="ann"), BOUGHT).then(Reader(name="ann", books=2))

    def test_follows_from_a_command(self):
        library.given(BOUGHT).when(LendBook(isbn="7", reader="ann")).then(
            BookLent(reader="ann"), Reader(name="ann", books=1)
        )
        assert library.given(BOUGHT).when(LendBook(isbn="7", reader="ann")).rows(Shelf)[0].isbn == "7"

    def test_of_another_scenario_is_named(self):
        with pytest.raises(TypeError, match="Reader is not in this scenario"):
            self.shelf.given(on("book-1", BOUGHT)).rows(Reader)

    def test_sees_versions_times_and_metadata(self):
        class Seen(ReadModel, key="isbn"):
            isbn: str
            seen: tuple[tuple[int, int, datetime, datetime, str | None], ...] = ()

            @evolve
            def bought(self, event: BookBought, recorded: Recorded[BookBought]) -> None:
                self.seen = (
                    *self.seen,
                    (
                        recorded.position,
                        recorded.version,
                        recorded.timestamp,
                        recorded.occurred_at,
                        recorded.metadata.actor,
                    ),
                )

        rows = (
            Scenario(Seen)
            .given(
                on("book-1", BOUGHT),
                on("book-2", BOUGHT, BOUGHT, occurred_at=MONDAY, metadata=Metadata(actor="ann")),
                on("book-1", BOUGHT, recorded_at=MONDAY),
            )
            .rows(Seen)
        )
        start = datetime(2026, 1, 1, tzinfo=UTC)
        assert rows[0].seen == ((1, 1, start, start, None), (4, 2, MONDAY, MONDAY, None))
        assert [each[0] for each in rows[1].seen] == [2, 3]
        assert {each[3:] for each in rows[1].seen} == {(MONDAY, "ann")}


class TestTheKitCatches:
    def test_a_decision_that_changes_the_state(self):
        class Lend(Command):
            isbn: str

        class Hasty(Aggregate, stream="book", id="isbn"):
            lent: bool = False
            readers: list[str] = msgspec.field(default_factory=list)

            @decide
            def lend(self, command: Lend) -> BookLent:
                self.readers.append("ann")
                return BookLent(reader="ann")

        with pytest.raises(AssertionError, match=r"changed its state while it decided .*readers: \[\] → \['ann'\]"):
            Scenario(Hasty).when(Lend(isbn="1"))

    def test_an_event_that_is_another_after_it_was_stored(self):
        class Weigh(Command):
            isbn: str

        class Weighed(Event):
            parts: Any

        class Scale(Aggregate, stream="scale", id="isbn"):
            @decide
            def weigh(self, command: Weigh) -> Weighed:
                return Weighed(parts=(1, 2))

        with pytest.raises(AssertionError, match=r"(?s)not the same.*\(1, 2\).*\[1, 2\]"):
            Scenario(Scale).when(Weigh(isbn="1"))

    def test_an_event_that_cannot_be_stored(self):
        with pytest.raises(InvalidAppend, match="BookLent"):
            given(BookLent(reader=7)).then_state()  # type: ignore[arg-type]  # on purpose
        with pytest.raises(InvalidAppend, match="NUL"):
            given(BookLent(reader="\x00")).then_state()

    def test_a_fold_that_fails_on_what_was_decided(self):
        class Open(Command):
            isbn: str

        class Opened(Event):
            page: int

        class Fragile(Aggregate, stream="book", id="isbn"):
            page: int = 0

            @decide
            def open(self, command: Open) -> Opened:
                return Opened(page=0)

            @evolve
            def opened(self, event: Opened) -> None:
                self.page = 10 // event.page

        with pytest.raises(FoldFailed, match=r"Fragile cannot fold .*ZeroDivisionError") as failure:
            Scenario(Fragile).when(Open(isbn="1"))
        assert failure.value.__notes__ == ["while Fragile evolved by Opened(page=0), which it had just decided"]

    def test_a_state_or_a_row_that_does_not_fit_its_definition(self):
        class Counter(Aggregate, stream="counter", id="isbn"):
            lent: int = 0

            @evolve
            def was_lent(self, event: BookLent) -> None:
                self.lent = event.reader  # type: ignore[assignment]  # the mistake

        with pytest.raises(AssertionError, match=r"the state of Counter does not fit its own definition: .*lent"):
            _ = Scenario(Counter).given(BookLent(reader="ann")).state

        class Count(ReadModel, key="isbn"):
            isbn: str
            lent: int = 0

            @evolve
            def was_lent(self, event: BookLent) -> None:
                self.lent = event.reader  # type: ignore[assignment]  # the mistake

        with pytest.raises(AssertionError, match=r"a row of Count does not fit its own definition: .*lent"):
            Scenario(Count).given(on("book-1", BookLent(reader="ann"))).rows(Count)

    def test_an_event_that_the_app_does_not_know(self):
        class Forgotten(Event):
            pass

        with pytest.raises(InvalidAppend, match="not an event of this app"):
            library.given(on("book-1", Forgotten())).rows(Shelf)

    def test_times_and_streams_that_no_store_takes(self):
        with pytest.raises(InvalidAppend, match="no time zone"):
            on("book-1", BOUGHT, occurred_at=datetime(2026, 1, 1))
        with pytest.raises(InvalidAppend, match="control"):
            on("book-\n", BOUGHT)

    def test_a_misunderstood_call(self):
        with pytest.raises(DefinitionError, match="needs an aggregate"):
            Scenario()
        with pytest.raises(TypeError, match="given\\(\\) takes events"):
            given(Book())  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError, match="first when"):
            given(BOUGHT).then(BOUGHT)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError, match="then_nothing"):
            given(BOUGHT).when(ReturnBook(isbn="1")).then()
        with pytest.raises(TypeError, match="of which stream"):
            Scenario(Book, Shelf).given(Other()).when(ReturnBook(isbn="1"))


class Other(Event):
    pass
