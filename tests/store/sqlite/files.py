"""The file as others see it: SQL from a connection of another program's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

GUARDS = (
    "events_are_not_updated",
    "events_are_not_deleted",
    "events_are_only_appended",
    "event_tags_are_not_updated",
    "event_tags_are_not_deleted",
)


def run_sql(file: Path, *statements: str) -> list[tuple[object, ...]]:
    """Runs statements as somebody else would, with none of our settings; gives the last one's rows."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


def drop_guards(file: Path) -> None:
    run_sql(file, *(f"drop trigger {name}" for name in GUARDS))


def contents(file: Path) -> bytes:
    return file.read_bytes()


def write(file: Path, data: bytes | bytearray) -> None:
    file.write_bytes(data)
