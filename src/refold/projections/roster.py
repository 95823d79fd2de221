"""The roster: which processes keep read models current, so that they share them evenly, with nobody in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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

    async def tell(self, worker: Worker, seconds: float) -> list[Worker]:
        """Keeps that this process is there now; gives those that were heard of in the last `seconds`, itself too."""
        ...

    async def leave(self, owner: str) -> None:
        """Takes a process off."""
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
        self._owner = worker.owner
        self._serves = dict(worker.serves)
        self._given_up: dict[str, float] = {}
        self._lease = lease
        self._there: Sequence[Worker] = ()
        self._heard_at = 0.0
        self._news = asyncio.Event()
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
        now = time.monotonic()
        self._there = await self._roster.tell(self._worker(), self._lease)
        self._heard_at = now

    def _worker(self) -> Worker:
        now = time.monotonic()
        serves = {name: each for name, each in self._serves.items() if self._given_up.get(name, 0.0) < now}
        return Worker(owner=self._owner, serves=serves)

    def serve(self, serves: Mapping[str, str], instead_of: Iterable[str] = ()) -> None:
        """From now on it has these, in the place of others: all are told soon."""
        for name in instead_of:
            self._serves.pop(name, None)
        self._serves.update(serves)
        self._news.set()

    def give_up(self, name: str, seconds: float) -> None:
        """Leaves one to the others for so long. When there is none that can, it is its own still."""
        self._given_up[name] = time.monotonic() + seconds
        self._news.set()

    async def _go_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease / 3):
                    await self._news.wait()
            self._news.clear()
            with contextlib.suppress(RefoldError):
                await self._tell()

    async def end(self) -> None:
        """Goes off."""
        if self._task is None or self._roster is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(RefoldError):
            await self._roster.leave(self._owner)

    def is_anothers(self, name: str) -> bool:
        """Whether a read model is another living process's turn. Without fresh news it is nobody else's."""
        if len(self._there) < 2 or time.monotonic() - self._heard_at > self._lease:
            return False
        there = [self._worker() if each.owner == self._owner else each for each in self._there]
        whose = shared_out(there, name, self._serves.get(name, ""))
        return whose not in ("", self._owner)


class MemoryRoster:
    """See `Roster`."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[float, Worker]] = {}

    async def tell(self, worker: Worker, seconds: float) -> list[Worker]:
        """See `Roster.tell`."""
        self._heard[worker.owner] = (time.monotonic(), worker)
        since = time.monotonic() - seconds
        return [worker for heard, worker in self._heard.values() if heard >= since]

    async def leave(self, owner: str) -> None:
        """See `Roster.leave`."""
        self._heard.pop(owner, None)


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

    async def tell(self, worker: Worker, seconds: float) -> list[Worker]:
        """See `Roster.tell`. One statement; forgets those that have been silent for an hour."""
        rows = await self._run(
            f"""with old as (delete from {self._workers} where told_at < clock_timestamp() - interval '1 hour'),
            told as (
                insert into {self._workers} values ($1, $2, clock_timestamp())
                on conflict (owner) do update set serves = excluded.serves, told_at = excluded.told_at
            )
            select owner, serves from {self._workers}
            where owner <> $1 and told_at > clock_timestamp() - $3::bigint * interval '1 millisecond'""",
            (worker.owner, msgspec.json.encode(worker.serves).decode(), int(seconds * 1000)),
        )
        return [worker, *(Worker(owner=owner, serves=_serves(serves)) for owner, serves in rows)]

    async def leave(self, owner: str) -> None:
        """See `Roster.leave`."""
        await self._run(f"delete from {self._workers} where owner = $1", (owner,))


def _serves(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str])
