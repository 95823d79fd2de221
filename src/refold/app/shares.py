"""A rebuild in several processes: each folds its share of the keys into the one table that is built.

The parent owns the table and its checkpoint, which stays at 0 until all have reached the same position. A share writes
its rows only while the checkpoint stands there, in the parent's epoch: whatever is killed, nothing half is ever read.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from refold.errors import ConfigurationError, ProjectionStopped
from refold.folds.read_model import ReadModelDefinition
from refold.messages.event_types import EventTypes
from refold.projections.rebuild import RebuildProgress, Split
from refold.store.event_store import EventStore

__all__ = ["Answer", "Order", "Task", "rebuilt_in_shares"]

_CLOSE = 5_000
"""Events that may be left to the parent alone: fewer are not worth another round."""
_LINE = 2**20


class Task(msgspec.Struct, frozen=True):
    """What a process is to do. It comes on standard input: a URL may hold a password."""

    url: str
    listen_url: str | None
    sinks: dict[str, str]
    model: str
    fingerprint: str
    known: list[str]
    path: list[str]
    number: int
    of: int
    epoch: int


class Order(msgspec.Struct, frozen=True):
    """Fold up to this position, write, and say so."""

    until: int


class Answer(msgspec.Struct, frozen=True):
    """Where a process is; `done`: what was ordered is written; `error`: why it gave up."""

    position: int = 0
    done: bool = False
    error: str = ""


def rebuilt_in_shares(
    store: EventStore,
    types: EventTypes,
    url: str | None,
    listen_url: str | None,
    sinks: Mapping[str, Any],
    jobs: int,
) -> Split:
    """A `Split` of `rebuild`. Raises `ConfigurationError` where processes cannot share a store."""
    if url is None or url.startswith("sqlite"):
        raise ConfigurationError("one process writes a SQLite store: a rebuild in several (jobs) needs Postgres")

    async def split(
        definition: ReadModelDefinition,
        epoch: int,
        progress: Callable[[RebuildProgress], None] | None,
        until: int | None,
    ) -> int:
        named = {name: place for name, place in sinks.items() if isinstance(place, str)}
        if definition.name in sinks and definition.name not in named:
            raise ConfigurationError(f"{definition.name!r} lives in an open store, which other processes cannot reach")
        model = _importable(definition)
        known = [event.__message_name__ for event in types]
        shares = [
            _Share(Task(url, listen_url, named, model, definition.fingerprint, known, sys.path, number, jobs, epoch))
            for number in range(jobs)
        ]
        try:
            await asyncio.gather(*(share.start() for share in shares))
            return await _Rounds(store, shares, definition.name, progress, until).run()
        finally:
            await asyncio.gather(*(share.end() for share in shares))

    return split


def _importable(definition: ReadModelDefinition) -> str:
    cls = definition.cls
    if cls.__module__ == "__main__" or "<" in cls.__qualname__:
        raise ConfigurationError(
            f"a rebuild in several processes (jobs) imports {cls.__qualname__} in each, and it is in no module for that"
        )
    return f"{cls.__module__}:{cls.__qualname__}"


class _Rounds:
    """All shares go to the log's head, or to a position before it, together, until little is left."""

    def __init__(
        self,
        store: EventStore,
        shares: list[_Share],
        name: str,
        progress: Callable[[RebuildProgress], None] | None,
        until: int | None,
    ) -> None:
        self._until = until
        self._store = store
        self._shares = shares
        self._name = name
        self._progress = progress
        self._began = time.monotonic()
        self._total = 0

    async def run(self) -> int:
        """The position that all have reached."""
        reached = 0
        while True:
            head = (await self._store.head()).position
            self._total = head if self._until is None else min(head, self._until)
            if self._total - reached <= (_CLOSE if reached else 0):
                return reached
            await asyncio.gather(*(share.go(self._total, self._tell) for share in self._shares))
            reached = self._total

    def _tell(self) -> None:
        if self._progress is not None:
            done = sum(share.position for share in self._shares) // len(self._shares)
            rate = done / max(time.monotonic() - self._began, 1e-6)
            left = (self._total - done) / max(rate, 1e-6)
            self._progress(RebuildProgress(self._name, done, self._total, rate, left))


class _Share:
    """One process."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._process: asyncio.subprocess.Process | None = None
        self.position = 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "refold.app.share",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        await self._send(self._task)

    async def _send(self, message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        with contextlib.suppress(ConnectionError):  # it ended: that is found when its answer is read
            await self._process.stdin.drain()

    async def go(self, until: int, tell: Callable[[], None]) -> None:
        """Returns when it has written everything up to there. Raises `ProjectionStopped`."""
        assert self._process is not None
        assert self._process.stdout is not None
        await self._send(Order(until))
        while True:
            line = await self._process.stdout.readline()
            if not line:
                raise ProjectionStopped(
                    f"a process of the rebuild ended early (exit code {await self._process.wait()})"
                )
            answer = msgspec.json.decode(line, type=Answer)
            if answer.error:
                raise ProjectionStopped(answer.error)
            self.position = answer.position
            tell()
            if answer.done:
                return

    async def end(self) -> None:
        """Lets it go, or, when it works, ends it."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        assert process.stdin is not None
        process.stdin.close()
