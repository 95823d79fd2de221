"""The event store on Postgres: one table of events, appended to by one function under one short lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refold.errors import MissingExtra
from refold.store.group_commit import Limits

if TYPE_CHECKING:
    from refold.store.postgres.doctor import Check
    from refold.store.postgres.store import PostgresStore

__all__ = ["examine_postgres", "migrate_postgres", "open_postgres"]


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401  # whether it is there is the question
    except ImportError as problem:
        raise MissingExtra(
            f'the Postgres store needs psycopg ({problem}); install it with: pip install "refold[postgres]"'
        ) from problem


async def open_postgres(
    url: str,
    *,
    limits: Limits | None = None,
    listen_url: str | None = None,
    schema: str | None = None,
    readers: int = 8,
    patience: float = 10.0,
    create: bool = True,
) -> PostgresStore:
    """Opens the log in a database, and creates it where there is none (without `create` that is a `SchemaMismatch`).

    `url` may lead through a pooler in transaction mode; `listen_url` is then a direct address, on which notifications
    of other processes are heard (without it their appends are found by polling). `schema` (or `?schema=` in the URL) is
    the Postgres schema of the log, "refold" unless given. At most `readers` connections are open for reads, and as many
    for transactions. `patience`: for so many seconds a server that went away is tried again before callers are told.

    Raises `MissingExtra`, `ConfigurationError`, `StoreUnavailable`, `SchemaMismatch`, `StoreReadOnly`.
    """
    _require_psycopg()
    from refold.store.postgres.open import open_log

    return await open_log(
        url, limits=limits, listen_url=listen_url, schema=schema, readers=readers, patience=patience, create=create
    )


async def migrate_postgres(url: str, *, schema: str | None = None) -> tuple[int, int]:
    """Brings the log's schema to this Refold's version, and gives the version before (0: there was none) and after.

    Raises `MissingExtra`, `ConfigurationError`, `StoreUnavailable`, `StoreReadOnly`, `SchemaMismatch` (it is newer).
    """
    _require_psycopg()
    from refold.store.postgres.open import migrate_log

    return await migrate_log(url, schema=schema)


async def examine_postgres(url: str, *, listen_url: str | None = None, schema: str | None = None) -> list[Check]:
    """Looks at server, settings, schema, grants and doorbell: what works against the promises, and what to do about it.

    A server that cannot be reached is a check that failed. Raises `MissingExtra`, `ConfigurationError`.
    """
    _require_psycopg()
    from refold.store.postgres.address import Address
    from refold.store.postgres.doctor import examine

    address = Address.parse(url, schema)
    return await examine(address, Address.parse(listen_url, address.schema) if listen_url else None)
