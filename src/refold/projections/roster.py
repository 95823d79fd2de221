"""The roster: which processes keep read models current, so that they share them evenly, with nobody in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from refold.errors import RefoldError

__all__ = ["MemoryRoster", "PostgresRoster", "Roster", "Shift", "Worker", "shared_out"]

Run = Callable[..., Any]


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process that runs projections. `serves` are the fingerprints of the definitions that it has, by read model."""

    owner: str
    serves: dict[str, str]


class Roster(Protocol):
    """Who is there. Kept in the log's database; told by each process itself, and forgotten when it falls silent."""

    async def tell(self, worker: Worker) -> None:
        """Keeps that this process is there now."""
        ...

    async def leave(self, owner: str) -> None:
        """Takes a process off."""
        ...

    async def there(self, seconds: float) -> list[Worker]:
        """Those that were heard of in the last `seconds`."""
        ...


def shared_out(workers: Iterable[Worker], name: str, fingerprint: str) -> str:
    """Whose turn a read model is: the read models that several processes serve go round among these. "": nobody's.

    Every process comes to the same answer from the same roster; a difference for a moment is harmless, since leases and
    epochs decide who writes.
    """
    able = {worker.owner: worker for worker in workers if worker.serves.get(name) == fingerprint}
    if not able:
        return ""
    names = sorted({each for worker in able.values() for each in worker.serves})
    return sorted(able)[names.index(name) % len(able)]


class Shift:
    """One process on the roster: tells it that it is there, and knows who else is."""

    def __init__(self, roster: Roster | None, worker: Worker, lease: float) -> None:
        self._roster = roster
        self._worker = worker
        self._lease = lease
        self._there: Sequence[Worker] = ()
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Comes on."""
        if self._roster is None:
            return
        with contextlib.suppress(RefoldError):  # the store is away: it is told when it is back
            await self._tell()
        self._task = asyncio.create_task(self._go_on(), name="refold-roster")

    async def _tell(self) -> None:
        assert self._roster is not None
        await self._roster.tell(self._worker)
        self._there = await self._roster.there(self._lease)
        self._heard_at = time.monotonic()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 5)
            with contextlib.suppress(RefoldError):
                await self._tell()

    async def end(self) -> None:
        """Goes off."""
        if self._task is None or self._roster is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(RefoldError):
            await self._roster.leave(self._worker.owner)

    def is_anothers(self, name: str) -> bool:
        """Whether a read model is another living process's turn. Without fresh news it is nobody else's."""
        if len(self._there) < 2 or time.monotonic() - self._heard_at > self._lease:
            return False
        whose = shared_out(self._there, name, self._worker.serves.get(name, ""))
        return whose not in ("", self._worker.owner)


class MemoryRoster:
    """See `Roster`."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, Worker]] = {}

    async def tell(self, worker: Worker) -> None:
        """See `Roster.tell`."""
        self._heard[worker.owner] = (time.monotonic(), worker)

    async def leave(self, owner: str) -> None:
        """See `Roster.leave`."""
        self._heard.pop(owner, None)

    async def there(self, seconds: float) -> list[Worker]:
        """See `Roster.there`."""
        since = time.monotonic() - seconds
        return [worker for heard, worker in self._heard.values() if heard >= since]


class PostgresRoster:
    """See `Roster`. By the server's clock: that of a process may be a day off."""

    TABLE = """
    if to_regclass('{schema}.workers') is null then
        create unlogged table {schema}.workers (
            owner   text collate "C" primary key,
            serves  text not null,
            told_at timestamptz not null
        );
        comment on table {schema}.workers is 'Which processes keep read models current, as they say themselves.';
    end if;"""

    def __init__(self, run: Run, schema: str) -> None:
        self._run = run
        self._workers = f"{schema}.workers"

    async def tell(self, worker: Worker) -> None:
        """See `Roster.tell`. Forgets those that have been silent for an hour."""
        await self._run(
            f"""with old as (delete from {self._workers} where told_at < clock_timestamp() - interval '1 hour')
            insert into {self._workers} values ($1, $2, clock_timestamp())
            on conflict (owner) do update set serves = excluded.serves, told_at = excluded.told_at""",
            (worker.owner, msgspec.json.encode(worker.serves).decode()),
        )

    async def leave(self, owner: str) -> None:
        """See `Roster.leave`."""
        await self._run(f"delete from {self._workers} where owner = $1", (owner,))

    async def there(self, seconds: float) -> list[Worker]:
        """See `Roster.there`."""
        rows = await self._run(
            f"select owner, serves from {self._workers} "
            "where told_at > clock_timestamp() - $1::bigint * interval '1 millisecond'",
            (int(seconds * 1000),),
        )
        return [Worker(owner=owner, serves=_serves(serves)) for owner, serves in rows]


def _serves(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str])
