"""The log's schema in the database: numbered migrations, applied forward only, each set in one transaction."""

from __future__ import annotations

from functools import cache
from importlib import resources

import psycopg

from refold.errors import ConfigurationError, SchemaMismatch, StoreReadOnly
from refold.store.postgres.address import Address
from refold.store.postgres.connection import Session
from refold.store.postgres.problems import explain, from_psycopg

__all__ = ["SCHEMA_VERSION", "create_if_empty", "found_version", "migrate", "migrations"]


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """The migrations: number and SQL, in order."""
    folder = resources.files("refold.store.postgres") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple((int(file.name.partition("_")[0]), file.read_text(encoding="utf-8")) for file in files)


SCHEMA_VERSION = migrations()[-1][0]
"""The schema version that this Refold works with."""


_TABLE = """
select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relname = 'schema_version'"""
_VERSION = "select coalesce(max(version), 0) from @schema@.schema_version"


async def found_version(connection: psycopg.AsyncConnection[tuple[object, ...]], address: Address) -> int:
    """The version of the schema in the database; 0: there is none."""
    # Asked of the catalogue's rows, and not by to_regclass: that believes the session's cache, which does not hear of
    # a schema that another session made while this one waited for the migration's lock.
    if await (await connection.execute(_TABLE, (address.schema,))).fetchone() is None:
        return 0
    row = await (await connection.execute(address.of(_VERSION))).fetchone()
    return int(str(row[0])) if row else 0


async def create_if_empty(session: Session, address: Address, *, create: bool = True) -> None:
    """Creates the schema where there is none, or, without `create`, refuses such a database.

    Raises `SchemaMismatch` for a schema of another version, `ConfigurationError` for a database that cannot hold a log.
    """
    connection = session.release()
    try:
        await _check_encoding(connection, address)
        version = await found_version(connection, address)
        if version == 0 and create:
            _, version = await migrate(session, address, only_if_empty=True)
    except psycopg.Error as problem:
        raise _explained(problem, address) from problem
    if version != SCHEMA_VERSION:
        raise SchemaMismatch(version, SCHEMA_VERSION, address.name)


async def migrate(session: Session, address: Address, *, only_if_empty: bool = False) -> tuple[int, int]:
    """Applies what is missing, and gives the version before and after. Several processes may do it at the same time.

    Raises `SchemaMismatch` for a schema from the future.
    """
    connection = session.release()
    try:
        # Whatever the default is: what was committed while this waited for the lock must be seen after it.
        await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
        async with connection.transaction():
            # Everything comes after the lock, the look at the version too: whoever waited for it finds the work done.
            await connection.execute("select pg_advisory_xact_lock(%s)", (address.migration_lock,))
            before = await found_version(connection, address)
            if before > SCHEMA_VERSION:
                raise SchemaMismatch(before, SCHEMA_VERSION, address.name)
            if only_if_empty and before:
                return before, before
            if not before:
                await connection.execute(address.of("create schema if not exists @schema@"))
                await connection.execute(
                    address.of(
                        "create table @schema@.schema_version "
                        "(version integer primary key, applied_at timestamptz not null default now())"
                    )
                )
            for version, sql in migrations():
                if version > before:
                    await connection.execute(address.of(sql))
                    await connection.execute(address.of("insert into @schema@.schema_version values (%s)"), (version,))
    except psycopg.Error as problem:
        raise _explained(problem, address) from problem
    return before, SCHEMA_VERSION


async def _check_encoding(connection: psycopg.AsyncConnection[tuple[object, ...]], address: Address) -> None:
    row = await (await connection.execute("show server_encoding")).fetchone()
    if row is not None and row[0] != "UTF8":
        raise ConfigurationError(
            f"{address.name}: the database's encoding is {row[0]}, a log needs UTF8; "
            "create the database with `createdb -E UTF8 -T template0`"
        )


def _explained(problem: psycopg.Error, address: Address) -> Exception:
    server = from_psycopg(problem)
    if server is None:
        return problem
    if server.sqlstate == "42501":
        return StoreReadOnly(
            f"{address.name}: {server.message}; where there is no log yet, have the database's owner run "
            "`refold migrate` once, otherwise have this role granted what it needs"
        )
    return explain(server, address.name)
