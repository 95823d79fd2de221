"""SQLite's errors, in words that say what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from refold.errors import RefoldError, StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreReadOnly, StoreUnavailable

__all__ = ["concerns_everything", "file_problem", "in_words", "is_flush", "said_in_words"]

_EVERYTHING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CANTOPEN")


def _name(problem: sqlite3.Error) -> str:
    return getattr(problem, "sqlite_errorname", "") or ""


def concerns_everything(problem: sqlite3.Error) -> bool:
    """Whether any other append would meet it too: another program's lock; not a value that cannot be kept."""
    return _name(problem).startswith(_EVERYTHING)


def is_flush(problem: sqlite3.Error) -> bool:
    """Whether the disk refused to flush what it had taken: after a power cut it may be there, or not."""
    return _name(problem).startswith("SQLITE_IOERR_FSYNC")


def in_words(problem: sqlite3.Error, where: str) -> RefoldError:
    """The Refold error for one of SQLite's."""
    name = _name(problem)
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


def file_problem(problem: OSError, file: str) -> RefoldError:
    """The Refold error for a database file that the system does not let us open."""
    said = problem.strerror or str(problem)
    match problem.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return StoreUnavailable(f"{file} cannot be opened: its folder does not exist; create it first")
        case errno.EISDIR:
            return StoreUnavailable(f"{file} is a folder; name a file in it")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StoreReadOnly(f"{file} cannot be opened for writing ({said}); file and folder must be writable")
        case errno.ENOSPC | errno.EDQUOT:
            return StoreFull(f"{file} cannot be opened ({said}); make space on its disk")
        case _:
            return StoreUnavailable(f"{file} cannot be opened: {said}")


@contextmanager
def said_in_words(where: str) -> Iterator[None]:
    """Turns SQLite's errors into Refold's."""
    try:
        yield
    except sqlite3.Error as problem:
        raise in_words(problem, where) from problem
