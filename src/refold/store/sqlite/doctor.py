"""Looking at a file with a doctor's eye: what works against the promises, and what to do about it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from pathlib import Path

from refold.errors import RefoldError
from refold.store.health import Check, Health
from refold.store.sqlite import schema
from refold.store.sqlite.address import Address, names_of
from refold.store.sqlite.connection import connect_reader
from refold.store.sqlite.integrity import missing_guards
from refold.store.sqlite.problems import said_in_words

__all__ = ["examine"]

_OLDEST = (3, 37, 0)
_INDEXES = ("events_stream_version", "events_append_id")
_LARGE_WAL = 256 * 1_048_576
_LITTLE_SPACE = 1_073_741_824


def examine(address: Address) -> list[Check]:
    """Looks at everything. A file that cannot be read is the one check that failed; nothing is raised for it."""
    found = [_library()]
    if address.path is None:
        return [
            *found,
            Check("file", "error", "in memory", "nobody else sees it, and it ends with its process; use a file"),
        ]
    shown = address.name.removeprefix("sqlite:///")
    if not address.path.exists():
        return [*found, Check("file", "error", f"{shown} does not exist", "`refold migrate` creates it")]
    found.append(_file(address.path, shown))
    found += [_writable(address), _writer(address), _space(address), _write_ahead_log(address)]
    try:
        connection = connect_reader(address)
        try:
            with said_in_words(address.name):
                found += _inside(connection, address)
        finally:
            connection.close()
    except RefoldError as problem:
        found.append(Check("schema", "error", str(problem), "see what it says"))
    return found


def _check(name: str, well: bool, detail: str, advice: str, health: Health = "error") -> Check:
    return Check(name, "ok", detail) if well else Check(name, health, detail, advice)


def _library() -> Check:
    version = f"SQLite {sqlite3.sqlite_version}"
    return _check("version", sqlite3.sqlite_version_info >= _OLDEST, version, "use a Python with SQLite 3.37 or later")


def _file(path: Path, shown: str) -> Check:
    names = names_of(path)
    return _check(
        "file",
        names == 1,
        f"{shown}, {_size(path.stat().st_size)}" + (f", has {names} names (hard links)" if names > 1 else ""),
        "keep one name, and use a symbolic link or a copy for the others",
    )


def _writable(address: Address) -> Check:
    assert address.path is not None
    folder = address.path.parent
    well = os.access(address.path, os.W_OK) and os.access(folder, os.W_OK)
    return _check(
        "writable",
        well,
        "yes" if well else "not for this user",
        f"make the file and its folder ({folder}) writable; SQLite writes its log beside the file",
    )


def _writer(address: Address) -> Check:
    """Who writes the file. That somebody does is no fault; it is what a command that cannot write wants to know."""
    nobody = Check("writer", "ok", "no process has it open for writing")
    try:
        descriptor = os.open(address.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return nobody
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "?"
        return Check("writer", "ok", f"process {holder} has it open for writing")
    finally:
        os.close(descriptor)
    return nobody


def _space(address: Address) -> Check:
    assert address.path is not None
    free = shutil.disk_usage(address.path.parent).free
    return _check("space", free >= _LITTLE_SPACE, f"{_size(free)} free", "make space on its disk", "warning")


def _write_ahead_log(address: Address) -> Check:
    assert address.path is not None
    log = address.path.with_name(f"{address.path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    return _check(
        "write-ahead log",
        size < _LARGE_WAL,
        _size(size),
        "a reader has been open for long (a sqlite3 shell, a backup); close it, so that the log can be folded in",
        "warning",
    )


def _inside(connection: sqlite3.Connection, address: Address) -> list[Check]:
    version = schema.version_of(connection, address.name)
    known = schema.SCHEMA_VERSION
    advice = "run `refold migrate`" if version < known else "install the Refold that wrote it, or a newer one"
    found = [_check("schema", version == known, f"version {version}", advice)]
    (mode,) = connection.execute("pragma journal_mode").fetchone()
    found.append(_check("journal", mode == "wal", mode, "open it for writing once: Refold sets it to wal"))
    if version == known:
        there = {name for (name,) in connection.execute("select name from sqlite_master where type = 'index'")}
        missing = [name for name in _INDEXES if name not in there]
        found.append(_check("indexes", not missing, ", ".join(missing) or "there", "restore the file from a backup"))
        guards = missing_guards(connection)
        found.append(
            _check("triggers", not guards, ", ".join(guards) or "there", "events must not change: run `refold verify`")
        )
    return found


def _size(size: int) -> str:
    return f"{size / 1_048_576:,.1f} MiB" if size < 1_073_741_824 else f"{size / 1_073_741_824:,.1f} GiB"
