"""Opening a log on Postgres, and migrating its schema."""

from __future__ import annotations

from refold.store.group_commit import Limits
from refold.store.postgres.address import Address
from refold.store.postgres.connection import Session
from refold.store.postgres.problems import ServerProblem, explain
from refold.store.postgres.schema import create_if_empty, migrate
from refold.store.postgres.store import PostgresStore
from refold.store.postgres.writer import prepare_appending

__all__ = ["migrate_log", "open_log"]


async def open_log(
    url: str,
    *,
    limits: Limits | None,
    listen_url: str | None,
    schema: str | None,
    readers: int,
    patience: float,
    create: bool,
) -> PostgresStore:
    """What `refold.store.postgres.open_postgres` does, once psycopg is known to be there."""
    address = Address.parse(url, schema)
    listen = Address.parse(listen_url, address.schema) if listen_url else address
    session = await Session.connect(address, "writer")
    try:
        await create_if_empty(session, address, create=create)
        framed = await _needs_a_frame(session)
        await prepare_appending(session, address)
    except BaseException as problem:
        session.drop("the log could not be opened")
        if isinstance(problem, ServerProblem):
            raise explain(problem, address.name) from problem
        raise
    return PostgresStore(
        address,
        listen,
        session,
        limits=Limits() if limits is None else limits,
        readers=readers,
        patience=patience,
        framed=framed,
        surely_direct=listen_url is not None,
    )


async def migrate_log(url: str, *, schema: str | None) -> tuple[int, int]:
    """What `refold.store.postgres.migrate_postgres` does, once psycopg is known to be there."""
    address = Address.parse(url, schema)
    session = await Session.connect(address, "migration")
    try:
        return await migrate(session, address)
    finally:
        session.drop("done migrating")


async def _needs_a_frame(session: Session) -> bool:
    result = await session.query(b"select current_setting('default_transaction_isolation')")
    return result.get_value(0, 0) != b"read committed"
