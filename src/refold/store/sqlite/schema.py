"""The schema of a SQLite store: numbered, forward-only migrations, and the check that a file has the right one."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files

from refold.errors import SchemaMismatch, StoreCorrupt

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "check", "create_or_check", "migrate", "refuse_other", "version_of"]

APPLICATION_ID = 0x5265666F
"""What `pragma application_id` says of a Refold file: "Refo"."""


def _migrations() -> list[tuple[int, str]]:
    found = []
    for entry in files("refold.store.sqlite").joinpath("migrations").iterdir():
        number = re.fullmatch(r"(\d{4})_\w+\.sql", entry.name)
        if number:
            found.append((int(number[1]), entry.read_text(encoding="utf-8")))
    return sorted(found)


MIGRATIONS = _migrations()
SCHEMA_VERSION = MIGRATIONS[-1][0]


def version_of(connection: sqlite3.Connection, where: str) -> int:
    """The schema version of a file; 0: it is empty. Raises `StoreCorrupt` for another program's database."""
    application: int = connection.execute("pragma application_id").fetchone()[0]
    version: int = connection.execute("pragma user_version").fetchone()[0]
    if application == APPLICATION_ID:
        return version
    if connection.execute("select count(*) from sqlite_master").fetchone()[0]:
        raise StoreCorrupt(f"{where} is a database of another program; give Refold a file of its own")
    return 0


def refuse_other(connection: sqlite3.Connection, where: str) -> None:
    """Raises `StoreCorrupt` for another program's database, and `SchemaMismatch` for one of a newer Refold."""
    found = version_of(connection, where)
    if found > SCHEMA_VERSION:
        raise SchemaMismatch(found, SCHEMA_VERSION, where)


def check(connection: sqlite3.Connection, where: str) -> None:
    """Raises `SchemaMismatch` unless the file has this version's schema."""
    found = version_of(connection, where)
    if found != SCHEMA_VERSION:
        raise SchemaMismatch(found, SCHEMA_VERSION, where)


def create_or_check(connection: sqlite3.Connection, where: str) -> None:
    """Creates the schema in an empty file, and checks it in any other."""
    if version_of(connection, where) == 0:
        migrate(connection, where)
    check(connection, where)


def migrate(connection: sqlite3.Connection, where: str) -> tuple[int, int]:
    """Brings the schema to this version in one transaction; gives the versions before and after."""
    connection.execute("begin immediate")
    try:
        before = version_of(connection, where)
        if before > SCHEMA_VERSION:
            raise SchemaMismatch(before, SCHEMA_VERSION, where)
        for number, text in MIGRATIONS:
            if number > before:
                for statement in _statements(text):
                    connection.execute(statement)
        connection.execute(f"pragma application_id = {APPLICATION_ID}")
        connection.execute(f"pragma user_version = {SCHEMA_VERSION}")
        connection.execute("commit")
    except BaseException:
        # SQLite may have rolled back by itself (a full disk); to ask again would hide the reason.
        if connection.in_transaction:
            connection.execute("rollback")
        raise
    return before, SCHEMA_VERSION


def _statements(text: str) -> list[str]:
    """The statements of a migration. `executescript` would commit before it begins, so that a failure left it half
    done.
    """
    statements = []
    gathered = ""
    for line in text.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            statements.append(gathered)
            gathered = ""
    return statements
