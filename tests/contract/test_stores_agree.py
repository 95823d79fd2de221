"""The stores do the same: any sequence of appends and reads has the same outcome on each of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from refold.errors import ConditionFailed, RefoldError
from refold.messages.recorded import StoredEvent
from refold.store.append import Append, AppendCondition, AppendResult, Matching, StreamAppend
from refold.store.event_store import EventFilter, EventStore
from refold.store.postgres import open_postgres
from refold.store.sqlite import open_sqlite
from refold.testing.contract.events import event
from refold.testing.memory import MemoryStore
from tests.servers import PostgresServer

T = TypeVar("T")

STREAMS = st.sampled_from(["a-1", "a-2", "b-1", "c"])
TAGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True).map(tuple)
TYPES = st.lists(st.sampled_from(["Red", "Green"]), max_size=2, unique=True).map(tuple)
EVENTS = st.builds(
    lambda number, kind, tags: event(number, type=kind, tags=tags),
    st.integers(0, 99),
    st.sampled_from(["Red", "Green", "Blue"]),
    TAGS,
)
PARTS = st.builds(StreamAppend, STREAMS, st.integers(-2, 6), st.lists(EVENTS, min_size=1, max_size=3).map(tuple))
MATCHING = st.lists(st.builds(Matching, TYPES, TAGS), min_size=1, max_size=2).map(tuple)
CONDITIONS = st.none() | st.builds(AppendCondition, MATCHING, st.integers(0, 20))
IDS = st.integers(0, 12).map(lambda number: UUID(int=number + 1)) | st.uuids()
APPENDS = st.builds(
    Append, st.lists(PARTS, min_size=1, max_size=2, unique_by=lambda part: part.stream).map(tuple), IDS, CONDITIONS
)
FILTERS = st.builds(
    EventFilter,
    matching=st.just(()) | MATCHING,
    categories=st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=2, unique=True).map(tuple),
)


def comparable(outcome: Any) -> Any:
    """An outcome without what is each store's own: the clock."""
    if isinstance(outcome, AppendResult):
        return ("stored", outcome.id, outcome.first, outcome.last, outcome.versions, outcome.repeated)
    if isinstance(outcome, ConditionFailed):
        return ("ConditionFailed", outcome.after)  # which of several matches is found first is each store's own
    if isinstance(outcome, RefoldError):
        return (type(outcome).__name__, vars(outcome).get("expected"), vars(outcome).get("actual"))
    if isinstance(outcome, StoredEvent):
        return tuple(getattr(outcome, name) for name in outcome.__struct_fields__ if name not in ("recorded_at",))
    if isinstance(outcome, list):
        return [comparable(each) for each in outcome]
    return outcome


class StoresAgree(RuleBasedStateMachine):
    """The in-memory store is the model; the others must do what it does."""

    postgres: ClassVar[str | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stores: list[EventStore] = []

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wrapped() -> T:
            return await awaitable

        return self.loop.run_until_complete(wrapped())

    @initialize()
    def open(self) -> None:
        self.stores = [MemoryStore(window=5), self.run(open_sqlite("sqlite:///:memory:", window=5))]
        if self.postgres is not None:
            # A log of its own in one database, which is quicker than a database for each run.
            self.stores.append(self.run(open_postgres(self.postgres, schema=f"log_{uuid4().hex}")))

    def same(self, ask: Callable[[EventStore], Awaitable[Any]]) -> None:
        async def outcome(store: EventStore) -> Any:
            try:
                return await ask(store)
            except RefoldError as problem:
                return problem

        model, *others = [comparable(self.run(outcome(store))) for store in self.stores]
        for store, other in zip(self.stores[1:], others, strict=True):
            assert other == model, store.name

    @rule(append=APPENDS)
    def append(self, append: Append) -> None:
        self.same(lambda store: store.append(append))

    @rule(appends=st.lists(APPENDS, min_size=2, max_size=6, unique_by=lambda append: append.id))
    def append_together(self, appends: list[Append]) -> None:
        async def all_at_once(store: EventStore) -> list[Any]:
            return list(await asyncio.gather(*(store.append(each) for each in appends), return_exceptions=True))

        self.same(all_at_once)

    @rule(appends=st.lists(APPENDS, min_size=1, max_size=3, unique_by=lambda append: append.id), fail=st.booleans())
    def transaction(self, appends: list[Append], fail: bool) -> None:
        async def in_one(store: EventStore) -> None:
            with contextlib.suppress(ZeroDivisionError):
                async with store.transaction() as transaction:
                    for each in appends:
                        transaction.append(each)
                    if fail:
                        raise ZeroDivisionError

        self.same(in_one)

    @rule(stream=STREAMS, after=st.integers(0, 8), limit=st.integers(1, 5), backward=st.booleans())
    def read_stream(self, stream: str, after: int, limit: int, backward: bool) -> None:
        self.same(lambda store: store.read_stream(stream, after=after, limit=limit, backward=backward))

    @rule(where=FILTERS, after=st.integers(0, 25), limit=st.integers(1, 5))
    def read_filtered(self, where: EventFilter, after: int, limit: int) -> None:
        async def to_the_end(store: EventStore) -> list[StoredEvent]:
            found: list[StoredEvent] = []
            position = after
            while True:
                page = await store.read_log(after=position, limit=limit, where=where)
                found += page.events
                if page.scanned_to >= page.head:
                    return found
                position = page.scanned_to

        self.same(to_the_end)

    @rule(append=IDS)
    def read_append(self, append: UUID) -> None:
        self.same(lambda store: store.read_append(append.bytes))

    @invariant()
    def the_logs_are_the_same(self) -> None:
        if self.stores:
            self.same(lambda store: _log(store))

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.close())
        self.loop.close()


async def _log(store: EventStore) -> list[StoredEvent]:
    return (await store.read_log(limit=1000)).events


def run(machine: type[StoresAgree], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.slow
def test_memory_and_sqlite_agree() -> None:
    run(StoresAgree, 60)


@pytest.mark.postgres
def test_all_three_agree(postgres18: PostgresServer) -> None:
    class WithPostgres(StoresAgree):
        postgres = postgres18.create_database(f"agree_{uuid4().hex}")

    run(WithPostgres, 8)
