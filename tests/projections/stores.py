"""The shop that these tests share, and the stores that it is tried on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from refold.app import App, Context
from refold.errors import ProjectionStopped, StoreUnavailable
from refold.folds.dispatch import evolve
from refold.folds.engine import RowFold
from refold.folds.read_model import Deleted, ReadModel, read_model_of
from refold.messages.event import Event
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, StreamAppend
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore

STORES = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


def place(name: str, request: pytest.FixtureRequest, folder: Path) -> str | EventStore:
    """A new store of that kind."""
    if name == "memory":
        return MemoryStore()
    if name == "sqlite":
        return f"sqlite:///{folder}/log.db"
    url: str = request.getfixturevalue("postgres18").create_database(f"projections_{uuid4().hex}")
    return url


class Added(Event, name="Added"):
    count: int


class Moved(Event, name="Moved"):
    other: str
    count: int


class Gone(Event, name="Gone"):
    pass


class Noise(Event, name="Noise"):
    pass


class Poison(Event, name="Poison"):
    pass


def _both(event: Moved, recorded: Any) -> list[str]:
    return [recorded.stored.stream.partition("-")[2], event.other]


class Stock(ReadModel, key="item"):
    """Rows that come and go; one event may change two."""

    item: str
    count: int = 0
    last: int = 0

    @evolve
    def added(self, event: Added, recorded: Any) -> None:
        self.count += event.count
        self.last = recorded.position

    @evolve(key=_both)
    def moved(self, event: Moved) -> None:
        self.count += event.count if self.item == event.other else -event.count

    @evolve
    def gone(self, event: Gone) -> object:
        return Deleted


class Total(ReadModel, key="name"):
    """One row that everything changes, and that a poisonous event cannot be folded into."""

    name: str
    count: int = 0

    @evolve(key=lambda event: "all")
    def added(self, event: Added) -> None:
        self.count += event.count

    @evolve(key=lambda event: "all")
    def poisoned(self, event: Poison) -> None:
        raise ZeroDivisionError("it is poison")


class Inline(ReadModel, key="item", inline=True):
    """Changes in the appending transaction."""

    item: str
    count: int = 0

    @evolve
    def added(self, event: Added) -> None:
        self.count += event.count

    @evolve
    def poisoned(self, event: Poison) -> None:
        raise ZeroDivisionError("it is poison")


shop = App("shop", read_models=[Stock, Total], events=[Added, Moved, Gone, Noise, Poison])
inline_shop = App("shop", read_models=[Stock, Inline], events=[Added, Moved, Gone, Noise, Poison])


async def bulk(context: Context, number: int, size: int = 5_000, name: str = "Noise", payload: bytes = b"{}") -> int:
    """Appends many events at once; gives the last position."""
    last = 0
    for start in range(0, number, size):
        events = tuple(NewEvent(type=name, payload=payload) for _ in range(min(size, number - start)))
        last = (await context.store.append(Append((StreamAppend(f"bulk-{start}", ANY, events),)))).last
    return last


async def folded(context: Context, model: type[ReadModel], upto: int) -> dict[Any, Any]:
    """What the log says the rows are."""
    definition = read_model_of(model)
    rows: dict[Any, Any] = {}
    after = 0
    while after < upto:
        page = await context.store.read_log(after=after, limit=min(5_000, upto - after))
        RowFold(definition).fold(rows, [context.types.decode(event) for event in page.events])
        after = page.scanned_to
    return {key: row for key, row in rows.items() if row is not None}


async def assert_equals_fold(context: Context, *models: type[ReadModel], timeout: float = 20.0) -> None:
    """The rows are the fold of the whole log, read in each way."""
    head = (await context.store.head()).position
    for model in models or tuple(context.app.read_models):
        definition = read_model_of(model)
        wanted = await folded(context, model, head)
        await until(partial(_has_table, context, model), f"the table of {model.__name__}", timeout)
        fresh = await context.find(model, fresh=True)
        waited = await context.find(model, after=head, timeout=timeout)
        assert {definition.key_of(row): row for row in fresh} == wanted
        assert {definition.key_of(row): row for row in waited} == wanted


async def _has_table(context: Context, model: type[ReadModel]) -> bool:
    """A worker that has just begun, or whose store is back, makes it in its own time."""
    try:
        await context.find(model, limit=1)
    except ProjectionStopped as problem:
        if "no table yet" not in str(problem):
            raise
        return False
    except StoreUnavailable:
        return False
    return True


async def until(condition: Callable[[], Awaitable[Any]], what: str, timeout: float = 20.0) -> Any:
    """Asks again until it holds."""
    deadline = time.monotonic() + timeout
    while not (answer := await condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        await asyncio.sleep(0.01)
    return answer
