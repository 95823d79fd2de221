"""A class that cannot work is refused when it is defined, by a text that names the class and says what to do."""

from __future__ import annotations

import functools
import operator
import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from refold import Aggregate, App, Command, Event, ReadModel, decide, evolve
from refold.errors import DefinitionError
from refold.folds.aggregate import definition_of
from refold.folds.read_model import read_model_of


class Opened(Event):
    owner: str


class Open(Command):
    account_id: str


class Other(Command):
    number: int


def test_an_aggregate_without_an_id_is_refused():
    with pytest.raises(DefinitionError, match=r"Nameless: id=… must name the field"):

        class Nameless(Aggregate, stream="account"):
            pass


@pytest.mark.parametrize("category", ["", "a-b", "tab\t", "x" * 101])
def test_a_category_that_makes_no_stream_id_is_refused(category: str):
    with pytest.raises(DefinitionError, match="must be 1 to 100 printable characters without a dash"):

        class Odd(Aggregate, stream=category, id="account_id"):
            pass


def test_an_aggregate_field_without_a_default_is_refused():
    with pytest.raises(DefinitionError, match=r"Account: give \['owner'\] a default"):

        class Account(Aggregate, stream="account", id="account_id"):
            owner: str


def test_a_command_without_the_id_field_is_refused():
    with pytest.raises(DefinitionError, match="Other has no field 'account_id'"):

        class Account(Aggregate, stream="account", id="account_id"):
            @decide
            def other(self, command: Other) -> None: ...


def test_a_handler_for_something_that_is_not_an_event_is_refused():
    with pytest.raises(DefinitionError, match=r"Account\.opened: parameter 'event' is annotated .*int.*not an event"):

        class Account(Aggregate, stream="account", id="account_id"):
            @evolve
            def opened(self, event: int) -> None: ...


def test_a_handler_without_an_annotation_is_refused():
    with pytest.raises(DefinitionError, match="annotate parameter 'event'"):

        class Account(Aggregate, stream="account", id="account_id"):
            @evolve
            def opened(self, event) -> None: ...


def test_evolve_with_a_command_is_refused():
    with pytest.raises(DefinitionError, match="@evolve takes an event, and Open is not one"):

        class Account(Aggregate, stream="account", id="account_id"):
            @evolve
            def opened(self, event: Open) -> None: ...


def test_two_handlers_for_one_event_are_refused():
    with pytest.raises(DefinitionError, match="Opened is handled by 'one' already"):

        class Account(Aggregate, stream="account", id="account_id"):
            @evolve
            def one(self, event: Opened) -> None: ...

            @evolve
            def two(self, event: Opened) -> None: ...


def test_a_read_model_without_a_key_is_refused():
    with pytest.raises(DefinitionError, match="Summary: a read model needs a key"):

        class Summary(ReadModel):
            account_id: str

            @evolve
            def opened(self, event: Opened) -> None: ...


def test_a_key_that_is_no_field_is_refused():
    with pytest.raises(DefinitionError, match="names no field of it"):

        class Summary(ReadModel, key="id"):
            account_id: str = ""

            @evolve
            def opened(self, event: Opened) -> None: ...


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a" * 64], "has 64 bytes, and a column's name in Postgres 63 at most"),
        (["ü" * 32], "has 64 bytes"),
        (["xmin"], "'xmin' is a column of every table in Postgres"),
        (["Total", "total"], "'Total' and 'total' differ in upper and lower case only"),
    ],
)
def test_a_field_that_makes_no_column_everywhere_is_refused(names: list[str], said: str):
    """On one database it worked, and on the other its table could not be made, or each of its events failed."""

    def define(**options: Any) -> None:
        def opened(self: Any, event: Opened) -> None: ...

        fields: dict[str, Any] = {"account_id": str, **dict.fromkeys(names, int)}
        body = {"__annotations__": fields, **dict.fromkeys(names, 0), "opened": evolve(opened)}
        make: Any = type(ReadModel)
        make("Summary", (ReadModel,), body, key="account_id", **options)

    with pytest.raises(DefinitionError, match=f"Summary: the field.*{said}"):
        define()
    define(documents=True)  # which has a column of its own for all of them


def test_a_read_model_that_decides_is_refused():
    with pytest.raises(DefinitionError, match="a read model has no @decide"):

        class Summary(ReadModel, key="account_id"):
            account_id: str

            @decide
            def open(self, command: Open) -> None: ...


def test_a_key_of_several_fields_needs_a_key_function():
    with pytest.raises(DefinitionError, match="each evolve method needs a key function"):

        class Summary(ReadModel, key=("account_id", "day")):
            account_id: str
            day: int

            @evolve
            def opened(self, event: Opened) -> None: ...


def test_two_events_with_one_name_are_refused_by_the_app():
    class First(Event, name="opened"):
        pass

    class Second(Event, name="opened"):
        pass

    with pytest.raises(DefinitionError, match=r"two event classes are named 'opened': .*First and .*Second"):
        App("bank", events=[First, Second])


def test_two_aggregates_for_one_category_are_refused_by_the_app():
    class One(Aggregate, stream="account", id="account_id"):
        pass

    class Two(Aggregate, stream="account", id="account_id"):
        pass

    with pytest.raises(DefinitionError, match="share the stream category 'account'"):
        App("bank", aggregates=[One, Two])


def test_one_command_has_one_aggregate():
    class One(Aggregate, stream="one", id="account_id"):
        @decide
        def open(self, command: Open) -> Opened: ...  # type: ignore[empty-body]  # never called

    class Two(Aggregate, stream="two", id="account_id"):
        @decide
        def open(self, command: Open) -> Opened: ...  # type: ignore[empty-body]  # never called

    with pytest.raises(DefinitionError, match=r"Open is decided by both .*One and .*Two"):
        App("bank", aggregates=[One, Two])


def test_events_are_found_in_return_annotations_at_any_depth():
    class Closed(Event):
        pass

    class Account(Aggregate, stream="account", id="account_id"):
        @decide
        def open(self, command: Open) -> list[Opened | Closed] | None: ...

    assert set(definition_of(Account).events) == {Opened, Closed}


def test_a_fingerprint_changes_with_the_fold_and_not_with_its_comments():
    def define(bonus: int, *, comment: bool):
        if comment:

            class Summary(ReadModel, key="account_id", name="summary"):
                account_id: str
                balance: Decimal = Decimal(0)

                @evolve
                def opened(self, event: Opened) -> None:
                    """Says something."""
                    # and something else
                    self.balance += 1

            return read_model_of(Summary).fingerprint

        class Summary(ReadModel, key="account_id", name="summary"):  # type: ignore[no-redef]  # one of the two is defined
            account_id: str
            balance: Decimal = Decimal(0)

            @evolve
            def opened(self, event: Opened) -> None:
                self.balance += 1

        return read_model_of(Summary).fingerprint

    class Changed(ReadModel, key="account_id", name="summary"):
        account_id: str
        balance: Decimal = Decimal(0)

        @evolve
        def opened(self, event: Opened) -> None:
            self.balance += 2

    plain, commented = define(1, comment=False), define(1, comment=True)
    assert plain == commented
    assert read_model_of(Changed).fingerprint != plain


def test_a_fingerprint_does_not_change_with_a_docstring_of_the_class():
    def define(*, documented: bool):
        if documented:

            class Summary(ReadModel, key="account_id", name="summary"):
                """What there is to say."""

                account_id: str
                description: str = "none"

                @evolve
                def opened(self, event: Opened) -> None: ...

            return read_model_of(Summary).fingerprint

        class Summary(ReadModel, key="account_id", name="summary"):  # type: ignore[no-redef]  # one of the two is defined
            account_id: str
            description: str = "none"

            @evolve
            def opened(self, event: Opened) -> None: ...

        return read_model_of(Summary).fingerprint

    class Other(ReadModel, key="account_id", name="summary"):
        account_id: str
        description: str = "some"

        @evolve
        def opened(self, event: Opened) -> None: ...

    assert define(documented=True) == define(documented=False)
    assert read_model_of(Other).fingerprint != define(documented=False)


WITHOUT_SOURCE = """
from refold import Aggregate, Event, ReadModel, evolve
from refold.folds.aggregate import definition_of
from refold.folds.read_model import read_model_of

class Opened(Event):
    owners: list[str]

class Account(Aggregate, stream="account", id="account_id"):
    tags: frozenset[str] = frozenset({"a", "b", "c", "d"})

    @evolve
    def opened(self, event: Opened) -> None:
        self.tags |= {owner for owner in event.owners if owner in {"x", "y", "z"}}

class Summary(ReadModel, key="owner"):
    owner: str
    tags: frozenset[str] = frozenset({"a", "b", "c", "d"})

    @evolve(key=lambda event: [owner for owner in event.owners if owner not in {"x", "y", "z"}])
    def opened(self, event: Opened) -> None:
        self.tags |= {owner.upper() for owner in event.owners}

print(definition_of(Account).fingerprint, read_model_of(Summary).fingerprint)
"""


class Step(msgspec.Struct):
    label: str


def test_a_class_may_be_renamed():
    """Its rows and snapshots are the same: neither the log nor the tables have its name."""

    class Before(ReadModel, key="id", name="renamed"):
        id: str
        steps: list[Step] = []

        @evolve
        def opened(self, event: Opened) -> None: ...

    class After(ReadModel, key="id", name="renamed"):
        id: str
        steps: list[Step] = []

        @evolve
        def opened(self, event: Opened) -> None: ...

    class Changed(ReadModel, key="id", name="renamed"):
        id: str
        steps: list[str] = []

        @evolve
        def opened(self, event: Opened) -> None: ...

    class Past(Aggregate, stream="renamed", id="id"):
        steps: list[Step] = []

        @evolve
        def opened(self, event: Opened) -> None: ...

    class Present(Aggregate, stream="renamed", id="id"):
        steps: list[Step] = []

        @evolve
        def opened(self, event: Opened) -> None: ...

    assert read_model_of(After).fingerprint == read_model_of(Before).fingerprint
    assert read_model_of(Changed).fingerprint != read_model_of(Before).fingerprint
    assert definition_of(Present).fingerprint == definition_of(Past).fingerprint


def test_a_fingerprint_is_the_same_in_each_process():
    """Also where there is no source, and though sets have another order each time."""
    printed = {
        subprocess.run(
            [sys.executable, "-c", WITHOUT_SOURCE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1


@pytest.mark.parametrize("key", [operator.attrgetter("owner"), functools.partial(max, "a"), str.upper])
def test_a_key_whose_code_cannot_be_seen_is_refused(key: Any):
    with pytest.raises(DefinitionError, match=r"Summary\.opened: key=.* wrap it: key=lambda event"):

        class Summary(ReadModel, key="owner"):
            owner: str

            @evolve(key=key)
            def opened(self, event: Opened) -> None: ...


def test_a_key_may_be_a_wrapped_function():
    @functools.cache
    def by_owner(event: Opened) -> str:
        return event.owner

    class Summary(ReadModel, key="owner"):
        owner: str

        @staticmethod
        def _shouted(event: Opened) -> str:
            return event.owner.upper()

        @evolve(key=_shouted)
        def opened(self, event: Opened) -> None: ...

    class Other(ReadModel, key="owner"):
        owner: str

        @evolve(key=by_owner)
        def opened(self, event: Opened) -> None: ...

    assert read_model_of(Summary).fingerprint != read_model_of(Other).fingerprint
