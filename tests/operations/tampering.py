"""Changing a store behind its back, as no user of Refold can."""

from __future__ import annotations

import sqlite3
from typing import Protocol

import psycopg


class Tamperer(Protocol):
    """Runs SQL; the store's own tables are named {events}, {event_tags}, {snapshots} and {checkpoints} in it."""

    def run(self, sql: str) -> None: ...

    def remove_guards(self) -> None: ...

    def remove_keys(self) -> None: ...


class SqliteTamperer:
    def __init__(self, file: str) -> None:
        self._file = file

    def run(self, sql: str) -> None:
        connection = sqlite3.connect(self._file, isolation_level=None)
        connection.execute(_named(sql.replace("{checkpoints}", "refold_checkpoints"), ""))
        connection.close()

    def remove_guards(self) -> None:
        for trigger in ("events_are_not_updated", "events_are_not_deleted", "event_tags_are_not_deleted"):
            self.run(f"drop trigger {trigger}")

    def remove_keys(self) -> None:
        self.run("drop index events_stream_version")
        self.run("drop index events_append_id")


class PostgresTamperer:
    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, sql: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(_named(sql, "refold.").encode())

    def remove_guards(self) -> None:
        for table in ("events", "event_tags"):
            self.run(f"drop trigger {table}_are_immutable on {{{table}}}")
            self.run(f"grant all on {{{table}}} to current_user")

    def remove_keys(self) -> None:
        self.run("alter table {events} drop constraint events_stream_version_key")
        self.run("drop index refold.events_append_id_key")


def _named(sql: str, schema: str) -> str:
    for table in ("events", "event_tags", "snapshots", "checkpoints"):
        sql = sql.replace(f"{{{table}}}", f"{schema}{table}")
    return sql
