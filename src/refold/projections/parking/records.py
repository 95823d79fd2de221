"""What is kept, in the log's database, of projections that fail or are held up, and of what operators did about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from refold.folds.read_model import ReadModelDefinition, RowKey

__all__ = [
    "Attempt",
    "Begin",
    "Change",
    "Dropped",
    "Forget",
    "Logged",
    "Operation",
    "Orders",
    "Park",
    "ParkedKey",
    "Pause",
    "ProjectionRecords",
    "Renamed",
    "Request",
    "RequestKind",
    "Resume",
    "Skip",
    "Unpark",
    "as_text",
    "from_text",
    "written_apart",
]

RequestKind = Literal["retry", "release", "skip"]


def as_text(key: RowKey) -> str:
    """A row's key as the text that is kept: a JSON array."""
    return msgspec.json.encode(list(key)).decode()


def from_text(definition: ReadModelDefinition, text: str) -> RowKey:
    """The key of a row, from the text that is kept of it."""
    return definition.as_key(tuple(msgspec.json.decode(text)))


class ParkedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose event at `position` failed: that and all later ones of the row wait; the row is as it was before.

    `name` is the checkpoint, `key` a JSON array. `owner` and `fingerprint` say who failed, by which definition.
    `request` is what an operator wants done (retry, release, skip), if anything, and `begun` how often an owner began
    with it, of which no end is known. Times are microseconds since 1970.
    """

    name: str
    key: str
    position: int
    stream: str
    type: str
    error: str
    attempts: int
    since: int = 0
    owner: str = ""
    fingerprint: str = ""
    request: str = ""
    request_id: str = ""
    requested_by: str = ""
    reason: str = ""
    begun: int = 0


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a projection tries: the events from `first` to `last`. It is about a position that its checkpoint has not
    passed, or it is over.

    `begun` counts attempts of which no end is known (the process died in them), `failed` those that raised `error`;
    the next one is due at `next_at`.
    """

    name: str
    first: int
    last: int
    begun: int = 0
    failed: int = 0
    error: str = ""
    next_at: int = 0


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused a read model, why, and when."""

    name: str
    actor: str
    reason: str = ""
    since: int = 0


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator did: `operation` (a word or two), on `target`. `details` are JSON's. `number` and `at` are given
    when it is recorded. `request` joins a wish and what came of it.
    """

    actor: str
    operation: str
    target: str
    reason: str = ""
    request: str = ""
    details: Mapping[str, Any] = {}
    number: int = 0
    at: int = 0


class Orders(msgspec.Struct, frozen=True):
    """What an owner has to look at: it is paused, or parked keys are to be dealt with."""

    paused: bool
    requested: bool


class Park(msgspec.Struct, frozen=True):
    """Parks a key, or replaces what is said of one."""

    parked: ParkedKey


class Unpark(msgspec.Struct, frozen=True):
    """Lets a key go. Holds only if it is parked, by this request."""

    name: str
    key: str
    request_id: str


class Request(msgspec.Struct, frozen=True):
    """Asks the owner to do something with a parked key. Holds only if it is parked and nothing else is asked."""

    name: str
    key: str
    kind: str
    request_id: str
    actor: str
    reason: str


class Skip(msgspec.Struct, frozen=True):
    """Leaves one event out of one row, for as long as the read model has this definition."""

    read_model: str
    key: str
    position: int
    fingerprint: str
    actor: str
    reason: str


class Forget(msgspec.Struct, frozen=True):
    """Forgets what was tried."""

    name: str


class Begin(msgspec.Struct, frozen=True):
    """Pauses a read model. Holds only if it is not paused."""

    pause: Pause


class Resume(msgspec.Struct, frozen=True):
    """Ends a pause. Holds only if there is one."""

    name: str


class Logged(msgspec.Struct, frozen=True):
    """Adds to the log of operations."""

    operation: Operation


class Renamed(msgspec.Struct, frozen=True):
    """What is kept of a checkpoint that is given another name goes with it; what was there under that name is gone."""

    name: str
    new_name: str


class Dropped(msgspec.Struct, frozen=True):
    """What is kept of a checkpoint that is dropped, or begins anew, is gone."""

    name: str


Change = Park | Unpark | Request | Skip | Forget | Begin | Resume | Logged | Renamed | Dropped


class ProjectionRecords(Protocol):
    """Parked keys, attempts, pauses and the log of operations, in the log's database.

    A checkpoint's move carries changes to them: where rows are in the same database, all is one transaction.
    """

    async def apply(self, changes: Sequence[Change]) -> bool:
        """Makes changes, all or nothing. False: one of them does not hold, nothing was changed."""
        ...

    async def parked(self, name: str = "") -> list[ParkedKey]:
        """The parked keys of a checkpoint, or of all; in the order of their positions."""
        ...

    async def skipped(self, read_model: str, fingerprint: str) -> list[tuple[str, int]]:
        """Key and position of the events that are left out of rows of this definition."""
        ...

    async def attempt(self, name: str) -> Attempt | None:
        """What a projection tries, or tried last."""
        ...

    async def attempts(self) -> list[Attempt]:
        """The same of all."""
        ...

    async def note(self, attempt: Attempt, epoch: int, next_in: float = 0.0) -> bool:
        """Keeps what is tried next, and in how many seconds, if the epoch is still the checkpoint's own."""
        ...

    async def pauses(self) -> list[Pause]:
        """All pauses."""
        ...

    async def orders(self, name: str, read_model: str) -> Orders:
        """What the owner of a checkpoint has to look at."""
        ...

    async def operations(self, *, before: int = 0, limit: int = 100, request: str = "") -> list[Operation]:
        """The log of operations, newest first: those with a number below `before` (0: from the end), of one request."""
        ...


async def written_apart(
    records: ProjectionRecords, changes: Sequence[Change], write: Callable[[], Awaitable[bool]]
) -> bool:
    """Writes rows that live elsewhere, and the changes of their move: parked first, then written, then let go.

    Whatever happens between, the next owner does the same again: parking twice is parking once, and a key is let go
    with a row that was folded from the log's beginning.
    """
    before = [change for change in changes if isinstance(change, Park | Skip)]
    if before and not await records.apply(before):
        return False
    if not await write():
        return False
    after = [change for change in changes if not isinstance(change, Park | Skip)]
    return not after or await records.apply(after)
