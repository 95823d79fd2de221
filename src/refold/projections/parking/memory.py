"""What is kept of failing projections, in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from refold.projections.parking.records import (
    Attempt,
    Begin,
    Change,
    Dropped,
    Forget,
    Logged,
    Operation,
    Orders,
    Park,
    ParkedKey,
    Pause,
    Renamed,
    Request,
    Resume,
    Skip,
    Unpark,
)

__all__ = ["MemoryRecords"]


class MemoryRecords:
    """See `ProjectionRecords`. `owns` says whether an epoch is a checkpoint's own."""

    def __init__(self, owns: Callable[[str, int], bool]) -> None:
        self._owns = owns
        self._parked: dict[tuple[str, str], ParkedKey] = {}
        self._skipped: dict[tuple[str, str, int, str], Skip] = {}
        self._attempts: dict[str, Attempt] = {}
        self._pauses: dict[str, Pause] = {}
        self._operations: list[Operation] = []

    async def apply(self, changes: Sequence[Change]) -> bool:
        """See `ProjectionRecords.apply`."""
        return self.apply_now(changes)

    def apply_now(self, changes: Sequence[Change]) -> bool:
        """The same, while nobody else runs."""
        before = (dict(self._parked), dict(self._skipped), dict(self._attempts), dict(self._pauses))
        number = len(self._operations)
        if all(self._applied(change) for change in changes):
            return True
        self._parked, self._skipped, self._attempts, self._pauses = before
        del self._operations[number:]
        return False

    def _applied(self, change: Change) -> bool:
        match change:
            case Park(parked):
                since = parked.since or _now()
                self._parked[parked.name, parked.key] = msgspec.structs.replace(parked, since=since)
            case Unpark(name, key, request_id):
                known = self._parked.get((name, key))
                if known is None or known.request_id != request_id:
                    return False
                del self._parked[name, key]
            case Request(name, key, kind, request_id, actor, reason):
                known = self._parked.get((name, key))
                if known is None or known.request:
                    return False
                self._parked[name, key] = msgspec.structs.replace(
                    known, request=kind, request_id=request_id, requested_by=actor, reason=reason, begun=0
                )
            case Skip():
                self._skipped.setdefault((change.read_model, change.key, change.position, change.fingerprint), change)
            case Forget(name):
                self._attempts.pop(name, None)
            case Begin(pause):
                if pause.name in self._pauses:
                    return False
                self._pauses[pause.name] = msgspec.structs.replace(pause, since=_now())
            case Resume(name):
                return self._pauses.pop(name, None) is not None
            case Renamed(name, new_name):
                self.rename_table(name, new_name)
            case Dropped(name):
                self.forget_table(name)
            case Logged(operation):
                # As a database keeps it: a copy, of what JSON can say.
                details = msgspec.json.decode(msgspec.json.encode(operation.details))
                number = len(self._operations) + 1
                self._operations.append(msgspec.structs.replace(operation, details=details, number=number, at=_now()))
        return True

    def rename_table(self, name: str, new_name: str) -> None:
        """What goes with a checkpoint that is given another name."""
        moved = [parked for parked in self._parked.values() if parked.name == name]
        self.forget_table(new_name)
        self.forget_table(name)
        for parked in moved:
            kept = msgspec.structs.replace(parked, name=new_name, request="", request_id="")
            self._parked[new_name, parked.key] = kept

    def forget_table(self, name: str) -> None:
        """What goes with a checkpoint that is dropped, or begins anew."""
        self._parked = {where: parked for where, parked in self._parked.items() if parked.name != name}
        self._attempts.pop(name, None)

    async def parked(self, name: str = "") -> list[ParkedKey]:
        """See `ProjectionRecords.parked`."""
        found = [parked for parked in self._parked.values() if name in ("", parked.name)]
        return sorted(found, key=lambda parked: (parked.position, parked.name, parked.key))

    async def skipped(self, read_model: str, fingerprint: str) -> list[tuple[str, int]]:
        """See `ProjectionRecords.skipped`."""
        return [
            (skip.key, skip.position)
            for skip in self._skipped.values()
            if (skip.read_model, skip.fingerprint) == (read_model, fingerprint)
        ]

    async def attempt(self, name: str) -> Attempt | None:
        """See `ProjectionRecords.attempt`."""
        return self._attempts.get(name)

    async def attempts(self) -> list[Attempt]:
        """See `ProjectionRecords.attempts`."""
        return [self._attempts[name] for name in sorted(self._attempts)]

    async def note(self, attempt: Attempt, epoch: int, next_in: float = 0.0) -> bool:
        """See `ProjectionRecords.note`."""
        if not self._owns(attempt.name, epoch):
            return False
        next_at = _now() + int(next_in * 1_000_000)
        self._attempts[attempt.name] = msgspec.structs.replace(attempt, next_at=next_at)
        return True

    async def pauses(self) -> list[Pause]:
        """See `ProjectionRecords.pauses`."""
        return [self._pauses[name] for name in sorted(self._pauses)]

    async def orders(self, name: str, read_model: str) -> Orders:
        """See `ProjectionRecords.orders`."""
        requested = any(parked.name == name and parked.request for parked in self._parked.values())
        return Orders(read_model in self._pauses, requested)

    async def operations(self, *, before: int = 0, limit: int = 100, request: str = "") -> list[Operation]:
        """See `ProjectionRecords.operations`."""
        found = [
            each
            for each in reversed(self._operations)
            if (not before or each.number < before) and request in ("", each.request)
        ]
        return found[:limit]


def _now() -> int:
    return time.time_ns() // 1000
