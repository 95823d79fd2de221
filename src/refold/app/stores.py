"""Which stores exist, and by which URL each is opened. The only place that knows."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from refold.errors import ConfigurationError
from refold.projections.external import ExternalSink
from refold.projections.routed import RoutedSink
from refold.projections.row_store import RowStore
from refold.projections.sink import LogSink, Sink
from refold.projections.sinks.memory import MemorySink
from refold.store.event_store import EventStore
from refold.store.group_commit import Limits
from refold.store.health import Check

__all__ = ["examine", "log_sink", "migrate", "open_row_store", "open_store", "scheme_of", "sink_of"]

_SQLITE = ("sqlite",)
_POSTGRES = ("postgresql", "postgres")
_ROW_STORES = {
    "redis": "redis",
    "rediss": "redis",
    "opensearch": "opensearch",
    "opensearchs": "opensearch",
    "neo4j": "neo4j",
    "bolt": "neo4j",
    "parquet": "parquet",
}
"""Scheme → module of `refold.projections.sinks`, which has a function `open_…` of that name."""
_EXPECTED = "use sqlite:///file.db, sqlite:///:memory: or postgresql://user@host/database"


def scheme_of(url: str) -> str:
    """`sqlite` or `postgresql`. Raises `ConfigurationError` for any other URL, without showing what may be a secret in
    it.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError as problem:
        raise ConfigurationError(f"the store's URL cannot be read ({problem}); {_EXPECTED}") from None
    if scheme in _SQLITE:
        return "sqlite"
    if scheme in _POSTGRES:
        return "postgresql"
    raise ConfigurationError(
        f"no store is known for a URL that begins with {scheme + ':' if scheme else 'no scheme'!r}; {_EXPECTED}"
    )


async def open_store(store: str | EventStore, *, limits: Limits, listen_url: str | None, read_only: bool) -> EventStore:
    """Opens the store of a URL; an open store is given back as it is."""
    if not isinstance(store, str):
        return store
    if scheme_of(store) == "sqlite":
        from refold.store.sqlite import open_sqlite

        return await open_sqlite(store, limits=limits, read_only=read_only)
    # Imported here: psycopg is an optional extra, and the module says so when it is missing.
    from refold.store.postgres import open_postgres

    return await open_postgres(store, limits=limits, listen_url=listen_url, create=not read_only)


@asynccontextmanager
async def sink_of(store: EventStore, sinks: Mapping[str, str | RowStore] | None = None) -> AsyncIterator[Sink]:
    """Where the read models of a store live: in its own database, but for those that `sinks` names: the name of a read
    model → the URL of another store, or an open one of your own, which stays open.

    Raises `ConfigurationError`, `MissingExtra`.
    """
    default = log_sink(store)
    if not sinks:
        yield default
        return
    async with AsyncExitStack() as opened:
        places: dict[str | RowStore, ExternalSink] = {}
        for name, place in sinks.items():
            if place not in places:
                rows = place
                if isinstance(rows, str):
                    rows = await open_row_store(rows, name)
                    opened.push_async_callback(rows.close)
                places[place] = ExternalSink(store, default, rows)
        yield RoutedSink(default, {name: places[place] for name, place in sinks.items()})


async def open_row_store(url: str, name: str) -> RowStore:
    """The store of a URL for the rows of read model `name`. It is not connected to yet: it may be away.

    Raises `ConfigurationError`, `MissingExtra`.
    """
    try:
        scheme = urlsplit(url).scheme.partition("+")[0]
    except ValueError as problem:
        raise ConfigurationError(f"the URL of the sink of {name!r} cannot be read ({problem})") from None
    kind = _ROW_STORES.get(scheme)
    if kind is None:
        known = ", ".join(sorted(set(_ROW_STORES)))
        raise ConfigurationError(
            f"no sink is known for a URL that begins with {repr(scheme + ':') if scheme else 'no scheme'} (read model "
            f"{name!r}); there are {known}"
        )
    # Imported here: their clients are optional extras, and each module says so when its own is missing.
    module = importlib.import_module(f"refold.projections.sinks.{kind}")
    rows: RowStore = await getattr(module, f"open_{kind}")(url)
    return rows


def log_sink(store: EventStore) -> LogSink:
    """The sink in a store's own database. Raises `ConfigurationError` for a store of another kind."""
    given: Any = store
    if hasattr(given, "schema"):
        from refold.projections.sinks.postgres import PostgresSink

        return PostgresSink(given)
    if hasattr(given, "transact"):
        from refold.projections.sinks.sqlite import SqliteSink

        return SqliteSink(given)
    # In memory the rows live as long as the store, over several contexts.
    kept: LogSink | None = getattr(given, "read_models", None)
    if kept is None:
        kept = MemorySink(given)
        given.read_models = kept
    return kept


async def examine(url: str, *, listen_url: str | None = None) -> list[Check]:
    """What a doctor says of the store of a URL. One that cannot be opened is a check that failed; nothing is raised for
    it.
    """
    if scheme_of(url) == "sqlite":
        from refold.store.sqlite import examine_sqlite

        return await examine_sqlite(url)
    from refold.store.postgres import examine_postgres

    return await examine_postgres(url, listen_url=listen_url)


async def migrate(url: str) -> tuple[int, int]:
    """Brings the schema of a store to this version of Refold; gives the versions before and after."""
    if scheme_of(url) == "sqlite":
        from refold.store.sqlite import migrate_sqlite

        return await migrate_sqlite(url)
    from refold.store.postgres import migrate_postgres

    return await migrate_postgres(url)
