"""SQLite's errors, in words that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from refold.errors import RefoldError, StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreReadOnly, StoreUnavailable

__all__ = ["in_words", "said_in_words"]


def in_words(problem: sqlite3.Error, where: str) -> RefoldError:
    """The Refold error for one of SQLite's."""
    name: str = getattr(problem, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreLocked(f"{where} is locked by another program; close it (a sqlite3 shell, a backup) and try again")
    if name.startswith("SQLITE_READONLY"):
        return StoreReadOnly(f"{where} cannot be written: the file or its folder is read-only for this user")
    if name.startswith("SQLITE_FULL"):
        return StoreFull(f"the disk that holds {where} is full; nothing of this was stored, make space and try again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreCorrupt(f"{where} is not a SQLite database, or is damaged ({problem}); restore it from a backup")
    if name.startswith("SQLITE_CANTOPEN"):
        return StoreUnavailable(f"{where} cannot be opened: does its folder exist, and may this user write there?")
    if name.startswith("SQLITE_IOERR"):
        # A write past a quota or a file-size limit comes as an input/output error; either way nothing of it was stored.
        return StoreFull(f"{where} cannot be written ({problem}): the disk is full, over a quota, or failing")
    return StoreError(f"{where}: {problem}")


@contextmanager
def said_in_words(where: str) -> Iterator[None]:
    """Turns SQLite's errors into Refold's."""
    try:
        yield
    except sqlite3.Error as problem:
        raise in_words(problem, where) from problem
