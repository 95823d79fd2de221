"""Strategies give what the definitions allow, and histories that really came about."""

import subprocess
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold import Event
from refold.errors import DefinitionError
from refold.messages.event_types import EventTypes
from refold.testing import Scenario
from refold.testing.strategies import any_command, any_event, commands_of, events_of, histories
from tests.testing.library import Book, BookBought, BookLent, BookReturned, BuyBook, LendBook


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    loud: bool


class Tree(msgspec.Struct):
    name: str
    branches: list["Tree"] = []


class Everything(Event):
    flag: bool
    count: int
    between: Annotated[int, msgspec.Meta(gt=0, le=5)]
    even: Annotated[int, msgspec.Meta(multiple_of=2, ge=-7, lt=9)]
    ratio: float
    part: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    quarter: Annotated[float, msgspec.Meta(multiple_of=0.25, ge=0, le=2)]
    text: str
    code: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    short: Annotated[str, msgspec.Meta(min_length=1, max_length=3)] | None
    blob: bytes
    amount: Decimal
    moment: datetime
    naive: Annotated[datetime, msgspec.Meta(tz=False)]
    day: date
    hour: time
    span: timedelta
    key: UUID
    colour: Colour
    word: Literal["a", "b", 3]
    several: Annotated[list[int], msgspec.Meta(min_length=1, max_length=3)]
    pair: tuple[int, str]
    many: tuple[int, ...]
    unique: set[int]
    frozen: frozenset[str]
    named: dict[str, int]
    point: Point
    options: Options
    tree: Tree
    anything: Any


class Odd(Event):
    stream: memoryview


TYPES = EventTypes([Everything, BookBought, BookLent, BookReturned])


@pytest.mark.slow
@given(any_event(Everything))
@settings(max_examples=200)
def test_every_event_can_be_stored_and_is_the_same_when_read(event: Everything):
    assert TYPES.prepare(event)[1] == event
    assert 0 < event.between <= 5
    assert event.even % 2 == 0
    assert -7 <= event.even < 9
    assert 0 < event.part < 1
    assert event.short is None or 1 <= len(event.short) <= 3
    assert event.naive.tzinfo is None
    assert event.moment.tzinfo is not None


@given(any_event(BookLent, reader="ann"), any_event(BookLent, reader=st.sampled_from(["bob", "cleo"])))
def test_a_field_can_be_given(by_value: BookLent, by_strategy: BookLent):
    assert by_value.reader == "ann"
    assert by_strategy.reader in {"bob", "cleo"}


def test_a_field_that_is_not_there_is_named():
    with pytest.raises(TypeError, match="BookLent has no field writer"):
        any_event(BookLent, writer="ann")
    with pytest.raises(TypeError, match="BuyBook has no field writer"):
        any_command(BuyBook, writer="ann")


def test_a_type_without_values_is_named():
    with pytest.raises(DefinitionError, match=r"no values can be made for .*give a strategy"):
        any_event(Odd)


@given(st.lists(events_of(Book, reader="ann"), min_size=1))
def test_events_of_an_aggregate_are_its_own(events: list[Event]):
    for event in events:
        assert isinstance(event, BookBought | BookLent | BookReturned)
        assert not isinstance(event, BookLent) or event.reader == "ann"
        assert TYPES.prepare(event)[1] == event


@given(commands_of(Book, reader="ann"))
def test_commands_of_an_aggregate_can_be_decided(command: Any):
    assert command.isbn.isprintable()
    assert not isinstance(command, LendBook) or command.reader == "ann"
    Scenario(Book).when(command)


@given(histories(Book, min_size=1))
def test_a_history_begins_where_the_domain_says(history: list[Event]):
    assert isinstance(history[0], BookBought)
    assert sum(isinstance(event, BookBought) for event in history) == 1
    Scenario(Book).given(*history).then_state(lambda book: book.title is not None)


def test_the_kit_works_without_hypothesis_and_says_what_its_strategies_need():
    script = """
import sys
sys.modules["hypothesis"] = None
import refold.testing
from refold.errors import MissingExtra
try:
    import refold.testing.strategies
except MissingExtra as problem:
    print(problem)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == 'refold.testing.strategies needs hypothesis; run: pip install "refold[testing]"\n'
