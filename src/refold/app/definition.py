"""App: what a bounded context is made of. Connecting it to a store gives the context that a user works with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import msgspec

from refold.app.context import Context, Place
from refold.app.loop_thread import running_loop_in_thread
from refold.app.stores import open_store, sink_of
from refold.app.sync import SyncContext
from refold.commands.decision import Deciders
from refold.errors import ConfigurationError, DefinitionError
from refold.folds.aggregate import Aggregate, AggregateDefinition, definition_of
from refold.folds.read_model import ReadModel, ReadModelDefinition, read_model_of
from refold.messages.event import Event
from refold.messages.event_types import DEFAULT_PAYLOAD_LIMIT, EventTypes
from refold.projections.handwritten import Function, HandWritten, hand_written
from refold.projections.projection import LEASE_SECONDS
from refold.projections.row_store import RowStore
from refold.projections.sink import read_model_of_table
from refold.projections.watchdog import PATIENCE_SECONDS
from refold.store.event_store import EventStore
from refold.store.group_commit import Limits
from refold.tracing import tracing_by

__all__ = ["App"]

F = TypeVar("F", bound=Function)
_PATIENCE_TO_END = 10.0


class App:
    """The aggregates, read models and events of one bounded context.

    `events` lists event classes that no aggregate or read model names: those of an old version, or appended directly.
    `payload_limit` is the most bytes of one event's payload and metadata. Raises `DefinitionError` for classes that do
    not go together.
    """

    def __init__(
        self,
        name: str,
        *,
        aggregates: Sequence[type[Aggregate]] = (),
        read_models: Sequence[type[ReadModel]] = (),
        events: Iterable[type[Event]] = (),
        payload_limit: int = DEFAULT_PAYLOAD_LIMIT,
    ) -> None:
        self.name = name
        self.payload_limit = payload_limit
        self.aggregates: dict[type[Aggregate], AggregateDefinition] = {cls: definition_of(cls) for cls in aggregates}
        self.read_models: dict[type[ReadModel], ReadModelDefinition] = {cls: read_model_of(cls) for cls in read_models}
        _refuse_shared(
            ((definition.category, cls) for cls, definition in self.aggregates.items()), "the stream category"
        )
        _refuse_shared(((definition.name, cls) for cls, definition in self.read_models.items()), "the name")
        said = [event for definition in self.aggregates.values() for event in definition.events]
        seen = [event for model in self.read_models.values() for event in model.evolves]
        self.projections: dict[str, HandWritten] = {}
        self.types = EventTypes([*said, *seen, *events], payload_limit=payload_limit)
        Deciders(self.aggregates.values())

    def projection(
        self, name: str, *, events: Iterable[type[Event]] = (), transaction: bool = True
    ) -> Callable[[F], F]:
        """Declares a hand-written projection: an async function that gets pages of recorded events, each once and in
        order, for what no read model can express.

        `events` are the types that it wants (none: all of the app's). Its page has the open transaction of the log's
        database, in which the checkpoint moves too: what it writes there is exactly once. With `transaction=False` the
        checkpoint moves after it has returned: what it does elsewhere must be the same when it is done twice, after a
        crash. Raises `DefinitionError`.
        """

        def declare(function: F) -> F:
            declared = hand_written(name, function, events, transaction)
            if name in self.projections or name in {each.name for each in self.read_models.values()}:
                raise DefinitionError(f"the name {name!r} is taken by another projection of app {self.name!r}")
            unknown = sorted(each for each in declared.events if each not in self.types)
            if unknown:
                raise DefinitionError(f"projection {name!r}: app {self.name!r} has no event {unknown[0]!r}")
            self.projections[name] = declared
            return function

        return declare

    def aggregate_of(self, category: str) -> type[Aggregate]:
        """The aggregate whose streams have this category. Raises `ConfigurationError`."""
        for cls, definition in self.aggregates.items():
            if definition.category == category:
                return cls
        known = ", ".join(sorted(definition.category for definition in self.aggregates.values())) or "none"
        raise ConfigurationError(
            f"no aggregate of app {self.name!r} has streams of category {category!r}; it has: {known}"
        )

    def followed_named(self, name: str) -> type[ReadModel] | str:
        """What follows the log under that name: the read model, or the name itself of a hand-written projection. Raises
        `ConfigurationError`.
        """
        if name in self.projections:
            return name
        try:
            return self.read_model_named(name)
        except ConfigurationError as problem:
            by_hand = f"; written by hand: {', '.join(sorted(self.projections))}" if self.projections else ""
            raise ConfigurationError(f"{problem}{by_hand}") from None

    def read_model_named(self, name: str) -> type[ReadModel]:
        """The read model of that name. Raises `ConfigurationError`."""
        for cls, definition in self.read_models.items():
            if definition.name == name:
                return cls
        if name in self.projections:
            raise ConfigurationError(
                f"{name!r} is a projection written by hand, and no read model: it has no rows of Refold's, and goes on "
                "from where it is"
            )
        whole = read_model_of_table(name)
        if whole != name and any(definition.name == whole for definition in self.read_models.values()):
            raise ConfigurationError(
                f"{name!r} is a version of read model {whole!r} that is not read: what waits there can be dealt with "
                f"when it is (`refold rollback {whole}` puts the previous version back)"
            )
        known = ", ".join(sorted(definition.name for definition in self.read_models.values())) or "none"
        raise ConfigurationError(f"app {self.name!r} has no read model {name!r}; it has: {known}")

    @asynccontextmanager
    async def connect(
        self,
        store: str | EventStore,
        *,
        projections: bool = True,
        limits: Limits | None = None,
        listen_url: str | None = None,
        live_aggregates: int = 10_000,
        lease: float = LEASE_SECONDS,
        patience: float = PATIENCE_SECONDS,
        tracer_provider: object | None = None,
        read_only: bool = False,
        sinks: Mapping[str, str | RowStore] | None = None,
    ) -> AsyncIterator[Context]:
        """A context on a store: `sqlite:///file`, `sqlite:///:memory:`, `postgresql://…`, or an open store of your own.

        `projections`: whether this process also keeps the read models current (with several processes on Postgres, one
        of them does, and the others stand by). `limits` bounds the append queue, `listen_url` is a direct address for
        LISTEN when the URL leads to pgbouncer, `live_aggregates` bounds the state cache, `lease` is the number of
        seconds after which a process that stands still loses its read models to another, `patience` the number of
        seconds without progress after which a read model is called stalled (see `refold.projections.watchdog`),
        `read_only` opens a SQLite file beside its writer. `sinks` says which read models live in another store, by
        their names: `{"account_search": "opensearch://127.0.0.1:9200"}`. `tracer_provider` is OpenTelemetry's, where it
        is not the one that the process has set before. Raises `ConfigurationError`, `MissingExtra`,
        `StoreUnavailable`, `StoreLocked`, `SchemaMismatch`, `StoreCorrupt`.
        """
        bounds = limits or Limits()
        if bounds.payload == DEFAULT_PAYLOAD_LIMIT:  # who bounds the queue only means the app's limit for payloads
            bounds = msgspec.structs.replace(bounds, payload=self.payload_limit)
        opened = await open_store(store, limits=bounds, listen_url=listen_url, read_only=read_only)
        try:
            async with sink_of(opened, self.checked_sinks(sinks)) as sink:
                place = Place(store if isinstance(store, str) else None, listen_url, sinks or {})
                context = Context(
                    self,
                    opened,
                    sink,
                    live_aggregates=live_aggregates,
                    lease=lease,
                    place=place,
                    patience=patience,
                    tracing=tracing_by(tracer_provider),
                )
                try:
                    if not read_only:
                        await context.start(projections=projections)
                    yield context
                finally:
                    await _to_its_end(context.stop())
        finally:
            if opened is not store:
                await _to_its_end(opened.close())

    def checked_sinks(self, sinks: Mapping[str, str | RowStore] | None) -> Mapping[str, str | RowStore]:
        """The sinks, each of a read model that may live elsewhere. Raises `ConfigurationError`."""
        for name in sinks or {}:
            definition = self.read_models[self.read_model_named(name)]
            if definition.inline:
                raise ConfigurationError(
                    f"read model {name!r} is inline, which needs the log's own database; leave out inline=True, or its "
                    "entry in sinks"
                )
            if definition.documents:
                raise ConfigurationError(
                    f"read model {name!r} is kept as documents in the log's own database; leave out documents=True, or "
                    "its entry in sinks"
                )
        return sinks or {}

    @contextmanager
    def connect_sync(
        self,
        store: str | EventStore,
        *,
        projections: bool = True,
        limits: Limits | None = None,
        listen_url: str | None = None,
        live_aggregates: int = 10_000,
        lease: float = LEASE_SECONDS,
        patience: float = PATIENCE_SECONDS,
        tracer_provider: object | None = None,
        read_only: bool = False,
        sinks: Mapping[str, str | RowStore] | None = None,
    ) -> Iterator[SyncContext]:
        """The same for code without `async`: an event loop runs in a thread of its own, and each call waits for its
        answer.

        The context may be used from many threads at once; their appends share commits.
        """
        with running_loop_in_thread() as loop:
            connection = self.connect(
                store,
                projections=projections,
                limits=limits,
                listen_url=listen_url,
                live_aggregates=live_aggregates,
                lease=lease,
                patience=patience,
                tracer_provider=tracer_provider,
                read_only=read_only,
                sinks=sinks,
            )
            with loop.entered(connection) as context:
                yield SyncContext(context, loop)


async def _to_its_end(ending: Coroutine[Any, Any, None]) -> None:
    """Ends what runs, also when its caller is cancelled meanwhile, who hears of that afterwards: otherwise tasks would
    go on for ever on a store that is closed. What hangs is not waited for longer than `_PATIENCE_TO_END`.
    """
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_PATIENCE_TO_END)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


def _refuse_shared(named: Iterable[tuple[str, type]], what: str) -> None:
    owners: dict[str, type] = {}
    for name, cls in named:
        if name in owners:
            raise DefinitionError(
                f"{owners[name].__qualname__} and {cls.__qualname__} share {what} {name!r}; give one another"
            )
        owners[name] = cls
