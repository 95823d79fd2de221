"""Context: an app connected to a store. What a user holds in their hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from uuid import UUID

import msgspec

from refold.app.shares import rebuilt_in_shares
from refold.commands.envelope import sealed
from refold.commands.enveloped import Enveloped
from refold.commands.handler import CommandHandler
from refold.commands.loading import Loaded, Until
from refold.commands.receipt import Receipt
from refold.commands.unit_of_work import UnitOfWork
from refold.errors import ConfigurationError, Conflict, InvalidQuery, OutcomeUnknown, RefoldError
from refold.folds.aggregate import Aggregate
from refold.folds.read_model import ReadModel, ReadModelDefinition, read_model_of
from refold.messages.event import Command, Event
from refold.messages.event_types import EventTypes
from refold.messages.recorded import Recorded, to_microseconds
from refold.projections.conditions import Condition
from refold.projections.projections import Projections
from refold.projections.rebuild import RebuildProgress, Split
from refold.projections.review.changes import RebuildDiff
from refold.projections.review.reviewing import Review
from refold.projections.sink import Sink
from refold.store.append import ANY, Append, AppendCondition, AppendResult, Matching, StreamAppend
from refold.store.counts import counts_of
from refold.store.event_store import EventFilter, EventStore, validate_page
from refold.subscriptions.subscription import pages
from refold.tracing import NO_TRACING, Tracing

if TYPE_CHECKING:
    from refold.app import App

__all__ = ["Context", "Place"]

A = TypeVar("A", bound=Aggregate)
R = TypeVar("R", bound=ReadModel)

_AT_ONCE = 2_000
"""Commands of one `execute_many` that wait for their commit at the same time."""


class Place(msgspec.Struct, frozen=True):
    """How another process would connect: the store's URL (None: it was given open), and where read models live."""

    url: str | None
    listen_url: str | None
    sinks: Mapping[str, Any]


class Context:
    """An app connected to a store. Made by `App.connect`; may be used by many tasks at once."""

    def __init__(
        self,
        app: App,
        store: EventStore,
        sink: Sink,
        *,
        live_aggregates: int,
        lease: float,
        place: Place,
        patience: float,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.app = app
        self.store = store
        self._place = place
        self.types: EventTypes = app.types
        self.projections = Projections(
            store,
            sink,
            list(app.read_models.values()),
            app.types,
            lease,
            tuple(app.projections.values()),
            patience,
            tracing,
        )
        self._commands = CommandHandler(store, app.aggregates, app.types, live_aggregates, tracing)
        self._tracing = tracing

    # --- commands -----------------------------------------------------------------------------------------------------

    async def execute(
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
        """Decides a command on the fresh state of its aggregate and appends what happened, durably.

        `command_id` (a UUID or any text) makes it idempotent: the same id again gives the first receipt. `actor`,
        `correlation_id`, `causation_id`, `traceparent` (else that of the current span) and `data` go into the metadata
        of its events; `occurred_at` says when it happened if not now. Raises `Rejected` (the domain refuses),
        `InvalidCommand`, `UnknownCommand`, `Conflict` (other writers were faster forty times), `Overloaded`,
        `OutcomeUnknown`, `StoreUnavailable`.
        """
        self._refuse_another_loop()
        decider = self._commands.deciders.of(command)
        name = type(command).__message_name__
        with self._tracing.command(name, traceparent):
            envelope = sealed(
                command=name,
                command_id=command_id,
                actor=actor,
                correlation_id=correlation_id,
                causation_id=causation_id,
                traceparent=traceparent,
                tracing=self._tracing,
                data=data,
                occurred_at=occurred_at,
            )
            return await self._commands.execute(decider.validated(command), envelope, decider)

    async def dry_run(self, command: Command) -> tuple[str, int, list[Event]]:
        """What a command would do now, and nothing is done: its stream, the version at which that stands, and the
        events that it would append. Raises `Rejected`, `InvalidCommand`, `UnknownCommand`.
        """
        decider = self._commands.deciders.of(command)
        return await self._commands.dry_run(decider.validated(command), decider)

    async def execute_many(
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
        """Executes many commands, sharing commits. One result for each, in order: its receipt, or the error that it
        met.

        A command with an id, an actor or a time of its own is given as `Enveloped(command=…, command_id=…)`. Commands
        for one stream are decided in their order; one that fails does not stop the others. What else a `@decide` method
        raises, a mistake, is raised once all others are done.
        """
        common: dict[str, Any] = {
            "actor": actor,
            "correlation_id": correlation_id,
            "causation_id": causation_id,
            "traceparent": traceparent,
            "data": data,
            "occurred_at": occurred_at,
        }
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(command: Command | Enveloped) -> Receipt | RefoldError:
            async with limit:
                try:
                    if isinstance(command, Enveloped):
                        return await self.execute(command.command, **command.envelope(common))
                    return await self.execute(command, **common)
                except RefoldError as problem:
                    return problem

        # All to their end, also when one meets a mistake: otherwise the others would go on behind the caller's back.
        results = await asyncio.gather(*(one(command) for command in commands), return_exceptions=True)
        found: list[Receipt | RefoldError] = []
        for result in results:
            if not isinstance(result, (Receipt, RefoldError)):
                raise result
            found.append(result)
        return found

    @asynccontextmanager
    async def transaction(self, *, actor: str | None = None) -> AsyncIterator[UnitOfWork]:
        """A unit of work: SQL on the user's own tables, commands and appends in one database transaction.

        Leaving the block commits; an exception rolls everything back. Raises `Conflict` on leaving when another writer
        was faster: nothing is stored then, run the block again.
        """
        self._refuse_another_loop()
        counts = counts_of(self.store)
        try:
            async with self.store.transaction() as transaction:
                yield UnitOfWork(transaction, self._commands, self.types, actor=actor)
        except (Conflict, OutcomeUnknown) as problem:
            if counts is not None:
                counts.failure(problem)
            raise
        if counts is not None:
            counts.transaction(transaction.results)

    # --- appending without a command ----------------------------------------------------------------------------------

    async def append(
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
        """Appends events to a stream as they are, without deciding: an import, an integration, an event from elsewhere.

        `expected` is the version at which the stream must be (or `ANY`, `NO_STREAM`, `EXISTS`); the same `append_id`
        again gives the first result. Raises `Conflict`, `ConditionFailed`, `InvalidAppend`, `PayloadTooLarge`,
        `Overloaded`, `OutcomeUnknown`.
        """
        self._refuse_another_loop()
        said = list(events)
        with self._tracing.append(len(said)):
            envelope = sealed(
                command=None,
                command_id=append_id,
                actor=actor,
                correlation_id=correlation_id,
                causation_id=causation_id,
                traceparent=None,
                tracing=self._tracing,
                data=data,
                occurred_at=occurred_at,
            )
            new = tuple(
                self.types.prepare(event, metadata=envelope.metadata, occurred_at=occurred_at)[0] for event in said
            )
            return await self.store.append(Append((StreamAppend(stream, expected, new),), envelope.id, condition))

    # --- states -------------------------------------------------------------------------------------------------------

    async def load(
        self,
        aggregate: type[A],
        id: object,  # the word of the domain
        *,
        as_of: datetime | None = None,
        time: Literal["recorded", "occurred"] = "recorded",
        at_version: int | None = None,
        at_position: int | None = None,
    ) -> A:
        """The state of one aggregate: a fold of its stream, now or as it was. The state before any event when there is
        none.

        `as_of` folds what was recorded (or, with `time="occurred"`, what had happened) up to and including that moment,
        `at_version` the first events of the stream, `at_position` what the log held at that position. Raises
        `InvalidQuery` (naive datetime, negative bound), `UnknownEvent`, `DecodeError`, `FoldFailed`,
        `ConfigurationError` (a class that is not of this app).
        """
        self._refuse_another_loop()
        definition = self.app.aggregates.get(aggregate)
        if definition is None:
            raise ConfigurationError(f"{aggregate.__qualname__} is not an aggregate of app {self.app.name!r}")
        if time not in ("recorded", "occurred"):
            raise InvalidQuery(f"time={time!r} must be 'recorded' or 'occurred'")
        if time == "occurred" and as_of is None:
            raise InvalidQuery("time='occurred' says what as_of means; give as_of too")
        stream = definition.stream_of(id)
        loader = self._commands.loader(aggregate)
        loaded: Loaded[A]
        if as_of is None and at_version is None and at_position is None:
            loaded = await loader.load(stream)
            return loaded.state
        moment = None if as_of is None else to_microseconds(as_of)
        loaded = await loader.load(stream, Until(at_version, at_position, moment, time))
        return loaded.state

    async def history(
        self, stream: str, *, after: int = 0, limit: int | None = None, backward: bool = False
    ) -> list[Recorded[Any]]:
        """The recorded events of a stream: forward those with a version above `after`, backward those below it (0: from
        the end). Raises `InvalidQuery`, `UnknownEvent`, `DecodeError`.
        """
        validate_page(after, 1_000 if limit is None else limit)
        found: list[Recorded[Any]] = []
        while limit is None or len(found) < limit:
            size = 1_000 if limit is None else min(1_000, limit - len(found))
            page = await self.store.read_stream(stream, after=after, limit=size, backward=backward)
            found += [self.types.decode(event) for event in page]
            if len(page) < size or (backward and page[-1].version == 1):
                break
            after = page[-1].version
        return found

    async def events(
        self,
        *,
        after: int = 0,
        types: Iterable[type[Event]] = (),
        categories: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> AsyncIterator[Recorded[Any]]:
        """The recorded events of the log after a position, in order, up to its end; of these types, categories and tags
        only.
        """
        found = pages(self.store, after=after, where=_filter(types, categories, tags), follow=False)
        async with aclosing(found):  # who leaves early gives the reader back at once
            async for page in found:
                for stored in page.events:
                    yield self.types.decode(stored)

    async def subscribe(
        self,
        *,
        after: int = 0,
        types: Iterable[type[Event]] = (),
        categories: Iterable[str] = (),
        tags: Iterable[str] = (),
    ) -> AsyncIterator[Recorded[Any]]:
        """The recorded events after a position, each once and in order, and then those that come; it never ends.

        Keep the position of the last one that you have dealt with, in one transaction with what you did, and subscribe
        after it. Raises `LogRegression` when the log ends before `after`.
        """
        found = pages(self.store, after=after, where=_filter(types, categories, tags), follow=True)
        async with aclosing(found):  # who leaves early gives the reader back at once
            async for page in found:
                for stored in page.events:
                    yield self.types.decode(stored)

    # --- read models --------------------------------------------------------------------------------------------------

    async def get(
        self,
        read_model: type[R],
        key: object,
        *,
        after: Receipt | AppendResult | int | None = None,
        fresh: bool = False,
        timeout: float = 5.0,
    ) -> R | None:
        """The row of a key (a tuple when the key has several fields), or None.

        `after` waits until the read model has seen a receipt (or a position), `timeout` seconds at most; `fresh=True`
        folds what the row has not seen yet onto it, and has no lag at all. Raises `StaleRead`, `ProjectionStopped` (its
        definition changed), `InvalidQuery`.
        """
        row = await self.projections.reads.get(self._model(read_model), key, _position(after), fresh, timeout)
        return cast("R | None", row)

    async def find(
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
        """The rows that fulfil all conditions: `find(AccountSummary, field("balance") >= 100, owner="alice",
        order_by="-balance")`.

        Sorted by `order_by` (a minus in front: descending; missing values last), then by the key. `after` and `fresh`
        as in `get`. Raises `InvalidQuery`, `StaleRead`, `ProjectionStopped`.
        """
        rows = await self.projections.reads.find(
            self._model(read_model), conditions, equals, order_by, limit, offset, _position(after), fresh, timeout
        )
        return cast("list[R]", rows)

    async def search(
        self,
        read_model: type[R],
        text: str,
        *,
        limit: int = 10,
        fields: Sequence[str] | None = None,
        after: Receipt | AppendResult | int | None = None,
        timeout: float = 5.0,
    ) -> list[R]:
        """The rows that hold all words of a text, the best first, of a read model that lives in OpenSearch.

        `"exact words"`, `one | other`, `-without` and `begin*` mean what they say. `fields` says where to look (all
        fields of text by default); `after` waits as in `get`. Raises `ConfigurationError` for a read model that lives
        where no full-text search is, `InvalidQuery`, `StaleRead`, `ProjectionStopped`.
        """
        rows = await self.projections.reads.search(
            self._model(read_model), text, limit, fields, _position(after), timeout
        )
        return cast("list[R]", rows)

    async def count(
        self,
        read_model: type[R],
        *conditions: Condition,
        after: Receipt | AppendResult | int | None = None,
        timeout: float = 5.0,
        **equals: Any,
    ) -> int:
        """The number of rows that fulfil all conditions. Raises as `find` does."""
        return await self.projections.reads.count(
            self._model(read_model), conditions, equals, _position(after), timeout
        )

    async def rebuild(
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
        """Folds a read model anew from the whole log, beside the one that is read, and switches in one step. What was
        read is kept for a `rollback`.

        `progress` is called with each page; with `resume`, it goes on where a killed rebuild was. `jobs` is the number
        of processes that fold (Postgres only; the class must be one that they can import). `diff` is called before the
        switch with what will change; `shown` and `was` are as for `compare_rebuild`. Gives the position that it
        stands at. Raises `ProjectionStopped` when another process rebuilds it, or an operator ended it,
        `ConfigurationError`.
        """
        review = None
        if diff is not None:
            review = Review(dry_run=False, shown=shown, was=self._made_by(was), tell=diff)
        definition, split = self._rebuilding(read_model, jobs)
        return await self.projections.rebuild(definition, progress, resume=resume, split=split, review=review)

    async def compare_rebuild(
        self,
        read_model: type[ReadModel],
        *,
        shown: int | None = 20,
        was: type[ReadModel] | None = None,
        progress: Callable[[RebuildProgress], None] | None = None,
        jobs: int = 1,
    ) -> RebuildDiff:
        """What a rebuild would change, row by row, and why; nothing is changed. The rows are built beside those that
        are read, compared with them at the same position while those go on moving, and dropped.

        `shown` rows of each kind are given and explained (None: all, in memory). With `was`, the class that made the
        rows that are read (of the release before, under another name), the first event that makes the difference is
        exact. Raises as `rebuild` does, and `ProjectionStopped` when there is nothing that can be compared.
        """
        review = Review(dry_run=True, shown=shown, was=self._made_by(was))
        definition, split = self._rebuilding(read_model, jobs)
        await self.projections.rebuild(definition, progress, split=split, review=review)
        assert review.diff is not None
        return review.diff

    def _rebuilding(self, read_model: type[ReadModel], jobs: int) -> tuple[ReadModelDefinition, Split | None]:
        definition, split = self._model(read_model), None
        if type(jobs) is not int or not 1 <= jobs <= 64:
            raise ConfigurationError(f"jobs={jobs!r} must be a number of processes, 1 to 64")
        if jobs > 1:
            place = self._place
            split = rebuilt_in_shares(self.store, self.types, place.url, place.listen_url, place.sinks, jobs)
        return definition, split

    def _made_by(self, was: type[ReadModel] | None) -> ReadModelDefinition | None:
        if was is None:
            return None
        definition, known = read_model_of(was), set(self.types)
        if foreign := [event.__qualname__ for event in definition.evolves if event not in known]:
            raise ConfigurationError(
                f"{was.__module__}.{was.__qualname__} folds {', '.join(foreign)} of its own; let it import the events "
                "of the app"
            )
        return definition

    async def rollback(self, read_model: type[ReadModel]) -> int:
        """Puts the rows that were read before the last rebuild back in their place, in one step; gives the position
        that they stand at. Again, and the rebuilt ones are read. Raises `ProjectionStopped` when there are none.
        """
        return (await self.projections.rollback(self._model(read_model))).position

    async def refold(self, read_model: type[R], key: object) -> R | None:
        """Folds one row anew from the log, in its place; gives it, or None when there is none.

        Raises `ProjectionStopped` (the rows are of another definition), `LogRegression`, and what the fold raises:
        then nothing has changed.
        """
        definition = self._model(read_model)
        return cast("R | None", await self.projections.refold(definition, definition.as_key(key)))

    async def reached(self, projection: str, after: Receipt | AppendResult | int, *, timeout: float = 5.0) -> None:
        """Waits until a hand-written projection has seen a receipt (or a position), `timeout` seconds at most.

        Raises `StaleRead`, `ConfigurationError` (there is none of that name).
        """
        await self.projections.reached(projection, _position(after) or 0, timeout)

    def _model(self, read_model: type[ReadModel]) -> ReadModelDefinition:
        self._refuse_another_loop()
        definition = self.app.read_models.get(read_model)
        if definition is None:
            raise ConfigurationError(f"{read_model.__qualname__} is not a read model of app {self.app.name!r}")
        return definition

    # --- life ---------------------------------------------------------------------------------------------------------

    def _refuse_another_loop(self) -> None:
        """Its locks and futures belong to the loop in which it was connected: in another one a command would be stored,
        and its caller get an error, or wait for ever.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(
                "this context was connected in another event loop, and cannot be used in this one; connect it in each "
                "loop, or use `app.connect_sync` from threads"
            )

    async def start(self, *, projections: bool) -> None:
        """Begins what runs in the background. Called by `App.connect`."""
        await self.projections.prepare()
        if projections:
            await self.projections.start()

    async def stop(self) -> None:
        """Ends what runs in the background. Called by `App.connect`."""
        await self.projections.stop()
        await self._commands.snapshots.settled()


def _position(after: Any) -> int | None:
    if isinstance(after, Receipt):
        return after.position
    if isinstance(after, AppendResult):
        return after.last
    if after is None or (type(after) is int and after >= 0):
        return after
    raise InvalidQuery(f"after={after!r} is not a receipt, nor a position")


def _filter(types: Any, categories: Any, tags: Any) -> EventFilter:
    for what, several in (("types", types), ("categories", categories), ("tags", tags)):
        if isinstance(several, (str, type)):
            raise InvalidQuery(f"{what}={several!r} must be a list or tuple of them, also for one alone")
    names, wanted_tags = tuple(event.__message_name__ for event in types), tuple(tags)
    matching = (Matching(names, wanted_tags),) if names or wanted_tags else ()
    return EventFilter(matching=matching, categories=tuple(categories))
