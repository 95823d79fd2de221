"""Where a SQLite store is: its URL, read and checked."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from refold.errors import ConfigurationError, StoreUnavailable

__all__ = ["MEMORY", "Address", "identity_of", "names_of", "read_address", "refuse_second_name"]

MEMORY = ":memory:"


class Address(msgspec.Struct, frozen=True):
    """A file, or `path=None` for a database in memory. `path` is absolute and without symbolic links: two names of one
    file have one lock, and a process may change its folder. `given` is the path as it was written.
    """

    path: Path | None
    given: str = MEMORY

    @property
    def name(self) -> str:
        """The store as it is shown."""
        return f"sqlite:///{self.given}"

    @property
    def lock_file(self) -> Path:
        """The file whose lock the writing process holds."""
        assert self.path is not None
        return self.path.with_name(self.path.name + ".lock")


def read_address(url: str) -> Address:
    """The address in `sqlite:///file.db` (relative), `sqlite:////folder/file.db` or `sqlite:///:memory:`.

    Raises `ConfigurationError`.
    """
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/") or len(parts.path) < 2:
        raise ConfigurationError(
            f"{url!r} is not the address of a SQLite store; use sqlite:///file.db, sqlite:////folder/file.db "
            "or sqlite:///:memory:"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{url!r}: a SQLite store has no options in its URL, and no ? or # in its file's name")
    given = unquote(parts.path[1:])
    if given == MEMORY:
        return Address(None)
    if given.startswith("/"):
        given = "/" + given.lstrip("/")
    try:
        path = Path(given).resolve()
    except (OSError, RuntimeError, ValueError) as problem:  # a loop of links, a NUL
        raise ConfigurationError(f"{url!r} is no name of a file: {problem}") from problem
    if not path.name:
        raise ConfigurationError(f"{url!r} names a folder; name a file in it")
    return Address(path, given)


def names_of(path: Path) -> int:
    """How many names a file has (hard links); 1 when it is not there yet, or cannot be looked at."""
    try:
        return path.stat().st_nlink
    except OSError:
        return 1


def identity_of(path: Path) -> tuple[int, int] | None:
    """Which file has that name; None when none has, or it cannot be looked at."""
    try:
        found = os.stat(path)  # with each commit, and half of what Path.stat takes
    except OSError:
        return None
    return found.st_dev, found.st_ino


def refuse_second_name(address: Address) -> None:
    """Raises `StoreUnavailable` for a file with hard links. Its lock and its write-ahead log are named after it: under
    two names it would have two of each, two writers could damage it, and readers would not see what is in the other.
    """
    assert address.path is not None
    names = names_of(address.path)
    if names > 1:
        raise StoreUnavailable(
            f"{address.name} has {names} names (hard links), under each of which it would have a write-ahead log of "
            "its own; keep one name, and use a symbolic link or a copy for the others"
        )
