"""Dealing with projections without `async`: the same methods, run on the loop of the context."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol, TypeVar

from refold.folds.read_model import ReadModel
from refold.projections.parking.operator import Waiting
from refold.projections.parking.records import Operation, ParkedKey
from refold.projections.projections import Projections

__all__ = ["SyncProjections"]

T = TypeVar("T")


class Loop(Protocol):
    """A loop that runs elsewhere."""

    def run(self, awaitable: Awaitable[T]) -> T:
        """Runs it there and waits for its result."""
        ...


class SyncProjections:
    """What can be done with projections, without `async`. Each method does what its namesake of `Projections` does."""

    def __init__(self, projections: Projections, loop: Loop) -> None:
        self._projections = projections
        self._loop = loop

    def parked(self, read_model: type[ReadModel] | None = None) -> list[ParkedKey]:
        """The rows that wait; see `Projections.parked`."""
        return self._loop.run(self._projections.parked(read_model))

    def waiting(self, read_model: type[ReadModel], key: object, *, limit: int = 100) -> Waiting:
        """Why a row waits, and the events that do; see `Projections.waiting`."""
        return self._loop.run(self._projections.waiting(read_model, key, limit=limit))

    def retry(
        self, read_model: type[ReadModel], key: object, *, actor: str, reason: str = "", timeout: float = 30.0
    ) -> Operation:
        """Folds what waits onto a parked row; see `Projections.retry`."""
        return self._loop.run(self._projections.retry(read_model, key, actor=actor, reason=reason, timeout=timeout))

    def release(
        self, read_model: type[ReadModel], key: object, *, actor: str, reason: str = "", timeout: float = 30.0
    ) -> Operation:
        """Folds a parked row anew from the log's beginning; see `Projections.release`."""
        return self._loop.run(self._projections.release(read_model, key, actor=actor, reason=reason, timeout=timeout))

    def skip(
        self, read_model: type[ReadModel], key: object, *, actor: str, reason: str, timeout: float = 30.0
    ) -> Operation:
        """Leaves the event that failed out of a parked row; see `Projections.skip`."""
        return self._loop.run(self._projections.skip(read_model, key, actor=actor, reason=reason, timeout=timeout))

    def pause(self, read_model: type[ReadModel] | str, *, actor: str, reason: str = "") -> bool:
        """Lets a read model stand still; see `Projections.pause`."""
        return self._loop.run(self._projections.pause(read_model, actor=actor, reason=reason))

    def resume(self, read_model: type[ReadModel] | str, *, actor: str, reason: str = "") -> bool:
        """Lets a read model go on; see `Projections.resume`."""
        return self._loop.run(self._projections.resume(read_model, actor=actor, reason=reason))

    def pause_rebuild(self, read_model: type[ReadModel], *, actor: str, reason: str = "") -> bool:
        """Lets a rebuild stand still; see `Projections.pause_rebuild`."""
        return self._loop.run(self._projections.pause_rebuild(read_model, actor=actor, reason=reason))

    def resume_rebuild(self, read_model: type[ReadModel], *, actor: str, reason: str = "") -> bool:
        """Lets a paused rebuild go on; see `Projections.resume_rebuild`."""
        return self._loop.run(self._projections.resume_rebuild(read_model, actor=actor, reason=reason))

    def cancel_rebuild(self, read_model: type[ReadModel], *, actor: str, reason: str = "") -> bool:
        """Ends a rebuild; see `Projections.cancel_rebuild`."""
        return self._loop.run(self._projections.cancel_rebuild(read_model, actor=actor, reason=reason))

    def operations(self, *, before: int = 0, limit: int = 100) -> list[Operation]:
        """What operators did; see `Projections.operations`."""
        return self._loop.run(self._projections.operations(before=before, limit=limit))

    def record_operation(
        self, operation: str, target: str, *, actor: str, reason: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Adds to the log of operations; see `Projections.record_operation`."""
        self._loop.run(
            self._projections.record_operation(operation, target, actor=actor, reason=reason, details=details)
        )
