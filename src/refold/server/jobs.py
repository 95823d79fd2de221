"""Jobs: work that takes longer than a request may. They belong to the process that began them."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from refold.errors import RefoldError, Refused, unexpected_in_words
from refold.projections.rebuild_orders import RebuildCancelled
from refold.server.problems import Problem

__all__ = ["Job", "JobDocument", "Jobs"]

_log = logging.getLogger("refold.server")

_KEPT = 100
"""Jobs that are remembered after their end."""
_AT_ONCE = 4
_BUILD = frozenset({"rebuild", "compare"})
"""Kinds of jobs that build beside the rows of a read model, where there is room for one."""


class JobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A job: what it does, for whom, in which process (host and number), how far it is (`done` of `total`, in whatever
    it counts; `rate` a second; `seconds_left`), and what came of it.
    """

    id: str
    kind: str
    target: str
    actor: str
    process: str
    state: Literal["running", "done", "failed", "cancelled"]
    begun_at: datetime
    ended_at: datetime | None
    done: int
    total: int
    rate: float | None
    seconds_left: float | None
    result: Any
    problem: str


class Job:
    """Work under way. `advance` tells how far it is."""

    def __init__(self, kind: str, target: str, actor: str, process: str) -> None:
        self.id = secrets.token_hex(8)
        self.kind = kind
        self.target = target
        self.actor = actor
        self.process = process
        self.task: asyncio.Task[None] | None = None
        self._begun = time.monotonic()
        self._begun_at = datetime.now(UTC)
        self._ended_at: datetime | None = None
        self._done = self._total = 0
        self._first: int | None = None
        self._result: Any = None
        self._problem = ""
        self._state: Literal["running", "done", "failed", "cancelled"] = "running"

    @property
    def running(self) -> bool:
        """Whether it is not over."""
        return self._state == "running"

    def advance(self, done: int, total: int) -> None:
        """So much is done, of so much."""
        if self._first is None:
            # What was there when it began does not count for its speed.
            self._first, self._begun = done, time.monotonic()
        self._done, self._total = done, total

    async def run(self, work: Callable[[Job], Awaitable[Any]]) -> None:
        """Does the work, and keeps what came of it."""
        try:
            self._result = await work(self)
            self._state = "done"
        except asyncio.CancelledError:
            self._state, self._problem = "cancelled", "it was cancelled"
            raise
        except RebuildCancelled as problem:
            self._state, self._problem = "cancelled", str(problem)
        except RefoldError as problem:
            self._state, self._problem = "failed", str(problem)
        except Exception as problem:  # noqa: BLE001  # whoever asks is told that it failed, whatever went wrong
            _log.exception("%s of %s went wrong", self.kind, self.target)
            self._state = "failed"
            self._problem = f"it went wrong: {unexpected_in_words(problem)}; see the server's log"
        finally:
            self._ended_at = datetime.now(UTC)

    def document(self) -> JobDocument:
        """How it stands now."""
        elapsed = time.monotonic() - self._begun
        advanced = self._done - (self._first or 0)
        rate = advanced / elapsed if self.running and elapsed > 0 and advanced > 0 else None
        return JobDocument(
            id=self.id,
            kind=self.kind,
            target=self.target,
            actor=self.actor,
            process=self.process,
            state=self._state,
            begun_at=self._begun_at,
            ended_at=self._ended_at,
            done=self._done,
            total=self._total,
            rate=None if rate is None else round(rate, 1),
            seconds_left=None if rate is None else round(max(0, self._total - self._done) / rate, 1),
            result=self._result,
            problem=self._problem,
        )


class Jobs:
    """The jobs of this process: those that run, and the last that have ended."""

    def __init__(self) -> None:
        self.process = f"{socket.gethostname()}:{os.getpid()}"
        self._jobs: dict[str, Job] = {}

    def begin(self, kind: str, target: str, actor: str, work: Callable[[Job], Awaitable[Any]]) -> Job:
        """Begins one. Raises `Problem` when the same is under way, or one that it would be in the way of, and `Refused`
        when too many are.
        """
        self.refuse_second(kind, target)
        running = [job for job in self._jobs.values() if job.running]
        if len(running) >= _AT_ONCE:
            raise Refused(f"{len(running)} jobs are under way; wait for the end of one")
        job = Job(kind, target, actor, self.process)
        self._jobs[job.id] = job
        for old in list(self._jobs.values())[:-_KEPT]:
            if not old.running:
                del self._jobs[old.id]
        job.task = asyncio.create_task(job.run(work), name=f"refold-{kind}-{target}")
        return job

    def refuse_second(self, kind: str, target: str) -> None:
        """Raises `Problem` when a job of this process does so already."""
        kinds = _BUILD if kind in _BUILD else {kind}
        for job in self._jobs.values():
            if job.running and job.kind in kinds and job.target == target:
                now = job.document()
                since = now.begun_at.isoformat(timespec="seconds")
                raise Problem(
                    "under-way",
                    f"{now.kind} of {now.target} was begun by {now.actor} at {since} and is under way: job {now.id}; "
                    "wait for its end, or cancel it",
                )

    def all(self) -> list[Job]:
        """All that are known, the newest first."""
        return list(self._jobs.values())[::-1]

    def find(self, job_id: str) -> Job:
        """The job of that id. Raises `Problem` when this process does not have it: another may."""
        job = self._jobs.get(job_id)
        if job is None:
            raise Problem(
                "not-found",
                f"this process ({self.process}) has no such job: a job belongs to the process that began it, and is "
                "forgotten when that ends. Ask the server that began it. How far a rebuild or comparison is, every "
                "server says (GET /operations/status), and what was done is in the log of operations",
            )
        return job

    async def close(self) -> None:
        """Cancels what runs, and waits for its end."""
        tasks = [job.task for job in self._jobs.values() if job.running and job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
