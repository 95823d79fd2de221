"""API keys: random, shown once, kept as hashes in a file that several servers can share."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from refold.errors import ConfigurationError
from refold.server.security.identity import Identity, parsed_grants

__all__ = ["ApiKey", "ApiKeys"]

_log = logging.getLogger("refold.server")

_PREFIX = "refold_"


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key: the name of who holds it (the actor of what is done with it), the SHA-256 of the key, and the roles.

    A key is 256 random bits, so its plain hash gives nothing away.
    """

    name: str
    hash: str
    roles: tuple[str, ...]
    created: datetime
    expires: datetime | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[ApiKey] = []


class ApiKeys:
    """The keys of a file (JSON), read anew whenever it has changed. Raises `ConfigurationError` for a file that is
    none; of one that becomes so later, the keys that were there before still count.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._broken: tuple[int, int, int] | None = None
        self._by_hash: dict[str, tuple[ApiKey, Identity]] = {}
        self.all()

    def all(self) -> list[ApiKey]:
        """The keys, oldest first; none when there is no file yet."""
        keys = self._read().keys
        found: dict[str, tuple[ApiKey, Identity]] = {}
        for key in keys:
            if not key.name or not key.name.isprintable():
                raise ConfigurationError(f"{self._path}: a key has the name {key.name!r}; give one that can be printed")
            found[key.hash] = (key, Identity(key.name, parsed_grants(key.roles), "key"))
        self._by_hash = found
        return keys

    def identity(self, key: str) -> Identity | None:
        """Who holds a key; None when nobody does, or it has expired."""
        self._refresh()
        hashed = hashlib.sha256(key.encode()).hexdigest()
        known = self._by_hash.get(hashed)
        if known is None or not hmac.compare_digest(known[0].hash, hashed):
            return None
        expires = known[0].expires
        return None if expires is not None and expires <= datetime.now(UTC) else known[1]

    def add(self, name: str, roles: Iterable[str], expires: datetime | None = None) -> str:
        """Makes a key; gives it. It is kept nowhere else. Raises `ConfigurationError` for a name that is taken."""
        wanted = tuple(roles)
        parsed_grants(wanted)
        if not name or not name.isprintable() or len(name) > 200:
            raise ConfigurationError(f"{name!r} is no name for a key: use 1 to 200 printable characters")
        keys = self.all()
        if name in {key.name for key in keys}:
            raise ConfigurationError(f"there is a key for {name!r} already; revoke it first")
        if not wanted:
            raise ConfigurationError(f"a key for {name!r} without a role may do nothing; give it one")
        key = _PREFIX + secrets.token_urlsafe(32)
        made = ApiKey(
            name=name,
            hash=hashlib.sha256(key.encode()).hexdigest(),
            roles=wanted,
            created=datetime.now(UTC).replace(microsecond=0),
            expires=expires,
        )
        self._write([*keys, made])
        return key

    def revoke(self, name: str) -> None:
        """Forgets the key of that name, at once for every server that reads this file."""
        keys = self.all()
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise ConfigurationError(f"there is no key for {name!r}; there are: {known}")
        self._write(left)

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        try:
            self.all()
        except ConfigurationError as problem:
            # Who calls is not to blame, and is not told what stands in our files. It is read again at every call.
            if stamp != self._broken:
                _log.warning("%s; the keys that were there before still count", problem)
            self._broken = stamp
        else:
            self._seen, self._broken = stamp, None

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> _File:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return _File()
        except OSError as problem:
            raise ConfigurationError(f"the keys in {self._path} cannot be read: {problem}") from problem
        try:
            return msgspec.json.decode(content, type=_File)
        except msgspec.DecodeError as problem:
            raise ConfigurationError(f"{self._path} is no file of API keys: {problem}") from problem

    def _write(self, keys: list[ApiKey]) -> None:
        text = msgspec.json.format(msgspec.json.encode(_File(keys)), indent=2) + b"\n"
        try:
            handle, draft = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(handle, "wb") as stream:  # mkstemp makes it readable by its owner alone
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(draft, self._path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(draft)
                raise
        except OSError as problem:
            raise ConfigurationError(f"the keys cannot be written to {self._path}: {problem}") from problem
        self.all()
