"""The context without `async`: the same methods, run on an event loop in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from uuid import UUID

from refold.app.loop_thread import LoopThread
from refold.app.sync_projections import SyncProjections
from refold.commands.enveloped import Enveloped
from refold.commands.receipt import Receipt
from refold.commands.unit_of_work import UnitOfWork
from refold.errors import RefoldError
from refold.folds.aggregate import Aggregate
from refold.folds.read_model import ReadModel
from refold.messages.event import Command, Event
from refold.messages.recorded import Recorded
from refold.projections.conditions import Condition
from refold.projections.rebuild import RebuildProgress
from refold.projections.review.changes import RebuildDiff
from refold.store.append import ANY, AppendCondition, AppendResult
from refold.store.event_store import EventStore

if TYPE_CHECKING:
    from refold.app.context import Context

__all__ = ["SyncContext", "SyncUnitOfWork"]

T = TypeVar("T")
A = TypeVar("A", bound=Aggregate)
R = TypeVar("R", bound=ReadModel)


class SyncUnitOfWork:
    """A unit of work without `async`; see `UnitOfWork`. Its statements run on the loop's thread, so use `execute`, not
    the connection.
    """

    def __init__(self, unit: UnitOfWork, loop: LoopThread) -> None:
        self._unit = unit
        self._loop = loop

    @property
    def results(self) -> Sequence[AppendResult]:
        """What became of its commands and appends; see `UnitOfWork.results`."""
        return self._unit.results

    @property
    def position(self) -> int:
        """The position of its last event; see `UnitOfWork.position`."""
        return self._unit.position

    def execute(self, statement: Any, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Runs one SQL statement (text with the driver's placeholders, or SQLAlchemy Core) and gives its rows."""
        return self._loop.run(self._unit.execute(statement, parameters))

    def command(
        self,
        command: Command,
        *,
        actor: str | None = None,
        command_id: str | UUID | None = None,
        correlation_id: str | UUID | None = None,
        causation_id: str | UUID | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
    ) -> tuple[Event, ...]:
        """Decides a command now and stages its events; see `UnitOfWork.command`."""
        return self._loop.run(
            self._unit.command(
                command,
                actor=actor,
                command_id=command_id,
                correlation_id=correlation_id,
                causation_id=causation_id,
                data=data,
                occurred_at=occurred_at,
            )
        )

    def append(
        self,
        stream: str,
        events: Iterable[Event],
        *,
        expected: int = ANY,
        condition: AppendCondition | None = None,
        actor: str | None = None,
        append_id: str | UUID | None = None,
        occurred_at: datetime | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Stages events for a stream without a command; see `UnitOfWork.append`."""
        self._unit.append(
            stream,
            events,
            expected=expected,
            condition=condition,
            actor=actor,
            append_id=append_id,
            occurred_at=occurred_at,
            data=data,
        )


class SyncContext:
    """An app connected to a store, without `async`. Each method does what its namesake of `Context` does."""

    def __init__(self, context: Context, loop: LoopThread) -> None:
        self._context = context
        self._loop = loop

    @property
    def projections(self) -> SyncProjections:
        """What keeps the read models: parked rows, pauses, the log of operations."""
        return SyncProjections(self._context.projections, self._loop)

    @property
    def store(self) -> EventStore:
        """The event store; its methods are asynchronous and belong to the loop's thread."""
        return self._context.store

    def execute(
        self,
        command: Command,
        *,
        actor: str | None = None,
        command_id: str | UUID | None = None,
        correlation_id: str | UUID | None = None,
        causation_id: str | UUID | None = None,
        traceparent: str | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
    ) -> Receipt:
        """Decides a command and appends what happened; see `Context.execute`."""
        return self._loop.run(
            self._context.execute(
                command,
                actor=actor,
                command_id=command_id,
                correlation_id=correlation_id,
                causation_id=causation_id,
                traceparent=traceparent,
                data=data,
                occurred_at=occurred_at,
            )
        )

    def execute_many(
        self,
        commands: Iterable[Command | Enveloped],
        *,
        actor: str | None = None,
        correlation_id: str | UUID | None = None,
        causation_id: str | UUID | None = None,
        traceparent: str | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
    ) -> list[Receipt | RefoldError]:
        """Executes many commands, sharing commits; see `Context.execute_many`."""
        return self._loop.run(
            self._context.execute_many(
                commands,
                actor=actor,
                correlation_id=correlation_id,
                causation_id=causation_id,
                traceparent=traceparent,
                data=data,
                occurred_at=occurred_at,
            )
        )

    def dry_run(self, command: Command) -> tuple[str, int, list[Event]]:
        """What a command would append, without appending it; see `Context.dry_run`."""
        return self._loop.run(self._context.dry_run(command))

    def append(
        self,
        stream: str,
        events: Iterable[Event],
        *,
        expected: int = ANY,
        condition: AppendCondition | None = None,
        append_id: str | UUID | None = None,
        actor: str | None = None,
        correlation_id: str | UUID | None = None,
        causation_id: str | UUID | None = None,
        data: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
    ) -> AppendResult:
        """Appends events as they are; see `Context.append`."""
        return self._loop.run(
            self._context.append(
                stream,
                events,
                expected=expected,
                condition=condition,
                append_id=append_id,
                actor=actor,
                correlation_id=correlation_id,
                causation_id=causation_id,
                data=data,
                occurred_at=occurred_at,
            )
        )

    @contextmanager
    def transaction(self, *, actor: str | None = None) -> Iterator[SyncUnitOfWork]:
        """A unit of work; see `Context.transaction`."""
        with self._loop.entered(self._context.transaction(actor=actor)) as unit:
            yield SyncUnitOfWork(unit, self._loop)

    def load(
        self,
        aggregate: type[A],
        id: object,  # the word of the domain
        *,
        as_of: datetime | None = None,
        time: Literal["recorded", "occurred"] = "recorded",
        at_version: int | None = None,
        at_position: int | None = None,
    ) -> A:
        """The state of one aggregate, now or as it was; see `Context.load`."""
        return self._loop.run(
            self._context.load(aggregate, id, as_of=as_of, time=time, at_version=at_version, at_position=at_position)
        )

    def history(
        self, stream: str, *, after: int = 0, limit: int | None = None, backward: bool = False
    ) -> list[Recorded[Any]]:
        """The recorded events of a stream; see `Context.history`."""
        return self._loop.run(self._context.history(stream, after=after, limit=limit, backward=backward))

    def events(
        self,
        *,
        after: int = 0,
        types: Iterable[type[Event]] = (),
        categories: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> Generator[Recorded[Any], None, None]:
        """The recorded events of the log, up to its end; see `Context.events`."""
        return self._loop.each(self._context.events(after=after, types=types, categories=categories, tags=tags))

    def subscribe(
        self,
        *,
        after: int = 0,
        types: Iterable[type[Event]] = (),
        categories: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> Generator[Recorded[Any], None, None]:
        """The events after a position, and those that come; `close()` it to leave early; see `Context.subscribe`."""
        return self._loop.each(self._context.subscribe(after=after, types=types, categories=categories, tags=tags))

    def get(
        self,
        read_model: type[R],
        key: object,
        *,
        after: Receipt | AppendResult | int | None = None,
        fresh: bool = False,
        timeout: float = 5.0,
    ) -> R | None:
        """The row of a key, or None; see `Context.get`."""
        return self._loop.run(self._context.get(read_model, key, after=after, fresh=fresh, timeout=timeout))

    def find(
        self,
        read_model: type[R],
        *conditions: Condition,
        order_by: str | Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
        after: Receipt | AppendResult | int | None = None,
        fresh: bool = False,
        timeout: float = 5.0,
        **equals: Any,
    ) -> list[R]:
        """The rows that fulfil all conditions; see `Context.find`."""
        return self._loop.run(
            self._context.find(
                read_model,
                *conditions,
                order_by=order_by,
                limit=limit,
                offset=offset,
                after=after,
                fresh=fresh,
                timeout=timeout,
                **equals,
            )
        )

    def search(
        self,
        read_model: type[R],
        text: str,
        *,
        limit: int = 10,
        fields: Sequence[str] | None = None,
        after: Receipt | AppendResult | int | None = None,
        timeout: float = 5.0,
    ) -> list[R]:
        """Full-text search; see `Context.search`."""
        return self._loop.run(
            self._context.search(read_model, text, limit=limit, fields=fields, after=after, timeout=timeout)
        )

    def count(
        self,
        read_model: type[R],
        *conditions: Condition,
        after: Receipt | AppendResult | int | None = None,
        timeout: float = 5.0,
        **equals: Any,
    ) -> int:
        """The number of rows that fulfil all conditions; see `Context.count`."""
        return self._loop.run(self._context.count(read_model, *conditions, after=after, timeout=timeout, **equals))

    @contextmanager
    def entered(self, make: Callable[[Context], AbstractAsyncContextManager[T]]) -> Iterator[T]:
        """The value of something asynchronous that is made of the context, and runs on its loop until the block ends:
        `with context.entered(Monitor) as monitor:`.
        """
        with self._loop.entered(make(self._context)) as value:
            yield value

    def rebuild(
        self,
        read_model: type[ReadModel],
        *,
        progress: Callable[[RebuildProgress], None] | None = None,
        resume: bool = True,
        jobs: int = 1,
        diff: Callable[[RebuildDiff], None] | None = None,
        shown: int | None = 20,
        was: type[ReadModel] | None = None,
    ) -> int:
        """Folds a read model anew; see `Context.rebuild`."""
        return self._loop.run(
            self._context.rebuild(
                read_model, progress=progress, resume=resume, jobs=jobs, diff=diff, shown=shown, was=was
            )
        )

    def compare_rebuild(
        self,
        read_model: type[ReadModel],
        *,
        shown: int | None = 20,
        was: type[ReadModel] | None = None,
        progress: Callable[[RebuildProgress], None] | None = None,
        jobs: int = 1,
    ) -> RebuildDiff:
        """What a rebuild would change, and why; see `Context.compare_rebuild`."""
        return self._loop.run(
            self._context.compare_rebuild(read_model, shown=shown, was=was, progress=progress, jobs=jobs)
        )

    def reached(self, projection: str, after: Receipt | AppendResult | int, *, timeout: float = 5.0) -> None:
        """Waits for a hand-written projection; see `Context.reached`."""
        self._loop.run(self._context.reached(projection, after, timeout=timeout))

    def rollback(self, read_model: type[ReadModel]) -> int:
        """Puts the rows from before the last rebuild back; see `Context.rollback`."""
        return self._loop.run(self._context.rollback(read_model))

    def refold(self, read_model: type[R], key: object) -> R | None:
        """Folds one row anew; see `Context.refold`."""
        return self._loop.run(self._context.refold(read_model, key))
