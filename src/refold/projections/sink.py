"""A sink: where the rows of read models live. One class for each kind of store; all pass one contract suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from refold.errors import ProjectionStopped, StoreCorrupt
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.messages.recorded import StoredEvent
from refold.projections.checkpoint import CHANGED, STOPPED, Checkpoint, Move
from refold.projections.conditions import Condition, Order, names_in
from refold.projections.definitions import KnownDefinition
from refold.projections.parking.records import ProjectionRecords
from refold.projections.roster import Roster
from refold.store.event_store import StoreTransaction

__all__ = [
    "Answer",
    "Decode",
    "Holder",
    "InlineRows",
    "Kept",
    "Loaded",
    "LogSink",
    "Query",
    "Sink",
    "building",
    "lives_elsewhere",
    "placed",
    "previous",
    "read_model_of_table",
    "refuse_inline",
    "refuse_other",
    "rows_elsewhere",
    "unreadable",
]


Decode = Callable[[StoredEvent], Any]
"""Turns a stored event into a recorded one."""


_BUILDING, _PREVIOUS = "__building", "__previous"


def building(name: str) -> str:
    """The name under which the next version of a read model is built, beside the one that is read."""
    return f"{name}{_BUILDING}"


def previous(name: str) -> str:
    """The name under which the version before the one that is read is kept."""
    return f"{name}{_PREVIOUS}"


def read_model_of_table(table: str) -> str:
    """The name of the read model that a table, or a checkpoint, belongs to."""
    return table.partition(":")[0].removesuffix(_BUILDING).removesuffix(_PREVIOUS)


def placed(kind: str, fingerprint: str) -> str:
    """What a checkpoint beside the log has as the fingerprint of rows that live elsewhere, in a store of that kind."""
    return f"{kind}:{fingerprint}"


def lives_elsewhere(checkpoint: Checkpoint | None) -> bool:
    """Whether the rows of a checkpoint that is kept beside the log are in a store of another kind."""
    return checkpoint is not None and ":" in checkpoint.fingerprint


def rows_elsewhere(checkpoint: Checkpoint) -> str:
    """Says of a command that finds no rows where the settings say so where they are, and what to do."""
    place = checkpoint.fingerprint.partition(":")[0]
    name = read_model_of_table(checkpoint.name)
    return (
        f"its rows are in {place}, and this command does not look there: mend [sinks] in refold.toml, or run "
        f"`refold rebuild {name}` to move them"
    )


def refuse_other(definition: ReadModelDefinition, checkpoint: Checkpoint | None) -> None:
    """Raises `ProjectionStopped` when there are no rows of this definition: none at all, or another's."""
    if checkpoint is None:
        raise ProjectionStopped(
            f"read model {definition.name!r} has no table yet; start a worker (`refold worker`), it makes it"
        )
    if lives_elsewhere(checkpoint):
        raise ProjectionStopped(
            f"the rows of read model {definition.name!r} are in {checkpoint.fingerprint.partition(':')[0]}, and this "
            f"process does not look there: give it the same sinks, or move them by `refold rebuild {definition.name}`"
        )
    if checkpoint.fingerprint != definition.fingerprint:
        raise ProjectionStopped(
            f"read model {definition.name!r} was written by another definition of it ({CHANGED}); "
            f"run `refold rebuild {definition.name}`"
        )


def unreadable(definition: ReadModelDefinition, table: str, problem: Exception) -> StoreCorrupt:
    """What is raised for a row that is not one of this definition's: somebody else has written it."""
    return StoreCorrupt(
        f"a row of table {table!r} is no {definition.cls.__qualname__} ({problem}), so it was changed by somebody "
        f"else; run `refold rebuild {definition.name}`"
    )


def refuse_inline(definition: ReadModelDefinition, checkpoint: Checkpoint | None, before: int) -> None:
    """Raises `ProjectionStopped` when inline rows cannot go on after position `before`: the append must fail then."""
    refuse_other(definition, checkpoint)
    assert checkpoint is not None
    name = definition.name
    if checkpoint.status == STOPPED:
        raise ProjectionStopped(f"inline read model {name!r} stopped at {checkpoint.position}: {checkpoint.error}")
    if checkpoint.position > before:
        raise ProjectionStopped(
            f"inline read model {name!r} is at position {checkpoint.position}, after {before}: the log was restored "
            f"from an older backup; run `refold rebuild {name}`"
        )


class Query:
    """What `find` and `count` ask for."""

    def __init__(
        self, where: Condition | None, order: Sequence[Order] = (), limit: int | None = None, offset: int = 0
    ) -> None:
        self.where = where
        self.order = tuple(order)
        self.limit = limit
        self.offset = offset

    @property
    def names(self) -> set[str]:
        """The fields that it names."""
        return {order.name for order in self.order} | (set() if self.where is None else names_in(self.where))


class Loaded(msgspec.Struct, frozen=True):
    """Rows by key. `seen`: where a row, or its absence, has seen more of the log than the checkpoint says, up to which
    position. Only a store without transactions has such, and a read model of which one shard is ahead of another.
    """

    rows: dict[RowKey, ReadModel]
    seen: Mapping[RowKey, int] = {}


class Answer(msgspec.Struct, frozen=True):
    """What was read, none of it older than `position`: the rows of the keys that were asked for, with `seen` as in
    `Loaded`, and those of the query.
    """

    position: int
    rows: dict[RowKey, ReadModel]
    found: list[ReadModel]
    seen: Mapping[RowKey, int] = {}


class Kept(msgspec.Struct, frozen=True):
    """What became of a lease that was to be kept: the epoch of its checkpoint now, and whether it was renewed. It is
    not when the checkpoint is another's by now, or was being moved at that moment. `position` is where it stands, where
    the rows are with it and a crash of the server may take both back.
    """

    epoch: int
    renewed: bool
    position: int | None = None


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lease: the owner, in which epoch, and for how many seconds still unless it is renewed."""

    owner: str
    epoch: int
    seconds: float


class Sink(Protocol):
    """Rows and checkpoints in one store. `table` is the read model's name, `building(name)` or `previous(name)`.

    Every method raises `StoreUnavailable` when the store cannot be reached.
    """

    @property
    def records(self) -> ProjectionRecords:
        """What is kept, in the log's database, of projections that fail or are held up."""
        ...

    def together(self, name: str) -> bool:
        """Whether the rows of that checkpoint are in the log's database, so that a move and its changes are one step.

        Where they are not, a key is parked before the move, and let go after it.
        """
        ...

    def divides(self, name: str) -> bool:
        """Whether the read model of that name may be divided into shards here; where not, `shards` gives one at most,
        and `reshard` is never called.
        """
        ...

    async def prepare(self) -> None:
        """Creates what the sink itself needs; safe when several processes do it at once."""
        ...

    async def checkpoint(self, name: str) -> Checkpoint | None:
        """One checkpoint. That of a table with shards says what they are together: see `refold.projections.shards`."""
        ...

    async def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints; none where no read model was ever kept."""
        ...

    async def shards(self, table: str) -> list[Checkpoint]:
        """The checkpoints that move a table's rows: those of its shards, or its own. Empty: there is no such table."""
        ...

    async def reshard(self, table: str, of: int, epochs: Mapping[str, int]) -> bool:
        """Puts `of` shards in the place of those that are there, in one transaction; whoever owned one of them cannot
        write any more. False: their epochs are not these (by checkpoint), or rows that come together have seen
        different positions.
        """
        ...

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """Creates the table and its checkpoint at position 0, unless they are there.

        A table without a checkpoint is somebody else's: raises `ConfigurationError`. A checkpoint without its table
        stands at 0 again.
        """
        ...

    async def begin(self, definition: ReadModelDefinition, owner: str, seconds: float) -> Checkpoint | None:
        """Makes the table in which the next version is built, empty, and owned by `owner` for so long.

        What a dead builder left is dropped. None: the lease of another builder holds. Its epoch was never given before:
        it is this moment, in microseconds since 1970, or a little more.
        """
        ...

    async def drop(self, table: str) -> None:
        """Drops a table and its checkpoint, if they are there."""
        ...

    @property
    def roster(self) -> Roster | None:
        """Who else keeps read models current; None where there is never more than one process."""
        ...

    async def choose(self, name: str, fingerprint: str, parts: Mapping[str, str]) -> None:
        """Keeps that the definition of this fingerprint serves now, and that all others of the read model are retired.

        `parts` are kept when it was not known before.
        """
        ...

    async def definitions(self, name: str) -> list[KnownDefinition]:
        """The definitions that have served, the newest first."""
        ...

    async def claim(
        self, name: str, owner: str, seconds: float, *, force: bool = False, above: int = 0
    ) -> Checkpoint | None:
        """Makes `owner` the owner for so long, in a new epoch (above all earlier ones, and `above`), if nobody else is
        (or by force). None: somebody is, or there is no such checkpoint.

        What stopped it before is forgotten: whoever owns it tries.
        """
        ...

    async def holder(self, name: str) -> Holder | None:
        """Who holds the lease of a checkpoint now, by the database's clock. None: nobody does, so that it can be
        claimed, or there is no such checkpoint.
        """
        ...

    async def renew(self, name: str, epoch: int, seconds: float) -> bool:
        """Keeps the lease. False: it belongs to another epoch by now."""
        ...

    async def release(self, name: str, epoch: int) -> None:
        """Gives the lease up, if it is still of this epoch."""
        ...

    async def mark(self, name: str, epoch: int, status: str, error: str) -> None:
        """Keeps what became of a projection, if the epoch is still its own."""
        ...

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """The rows of these keys that there are."""
        ...

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """Writes rows and moves the checkpoint, with the move's changes, all or nothing. False: the move or a change
        does not hold, nothing was written.

        Raises `InvalidQuery` for a value that no column can keep.
        """
        ...

    async def switch(
        self, definition: ReadModelDefinition, epoch: int, *, decode: Decode | None = None, back: bool = False
    ) -> bool:
        """Puts the built table in the place of the read one, with its checkpoint, in one transaction. What was read is
        kept as the previous one, and what that was is dropped.

        `epoch` is the built one's. False: it belongs to another epoch by now, or the read one has seen more, so that
        whoever waited for a position would read older rows. With `decode`, what it has seen more is folded in the same
        transaction, while nobody writes; `back` switches nevertheless.
        """
        ...

    async def exchange(self, definition: ReadModelDefinition) -> bool:
        """Exchanges the read table and the previous one, with their checkpoints, in one transaction; both have new
        epochs then. False: there is no previous one.
        """
        ...

    async def read(
        self, definition: ReadModelDefinition, keys: Sequence[RowKey], query: Query | None, *, table: str = ""
    ) -> Answer:
        """Reads the version that is read, or another one.

        Raises `ProjectionStopped` when the rows are not of this definition.
        """
        ...

    async def count(self, definition: ReadModelDefinition, where: Condition | None, *, table: str = "") -> int:
        """The number of rows. Raises `ProjectionStopped` when they are not of this definition."""
        ...


class LogSink(Sink, Protocol):
    """A sink in the log's own database, which also keeps checkpoints (owners, leases, states) of rows elsewhere."""

    async def enroll(self, name: str, fingerprint: str) -> None:
        """Makes a checkpoint at position 0 for rows that live elsewhere, unless it is there; a new fingerprint replaces
        the old.
        """
        ...

    async def withdraw(self, name: str) -> None:
        """Drops the checkpoint of rows that live elsewhere, if it is there."""
        ...

    async def move(self, transaction: StoreTransaction | None, name: str, move: Move) -> bool:
        """Moves the checkpoint of what is kept elsewhere: in a transaction of the user's, or alone. False: the move
        does not hold.
        """
        ...

    async def renew_all(self, held: Mapping[str, int], seconds: float) -> Mapping[str, Kept]:
        """Keeps the leases of these checkpoints (with the epoch of each), in one statement that waits for nobody's
        transaction. A checkpoint that is not there any more is not in the answer.
        """
        ...

    async def note(self, name: str, epoch: int, position: int, append_id: str) -> None:
        """Keeps how far rows that live elsewhere have come, if the epoch is still its own."""
        ...


class InlineRows(Protocol):
    """A sink that can change rows in the appending transaction."""

    def install(self, definitions: Sequence[ReadModelDefinition], decode: Decode) -> None:
        """Makes the store call it with each append."""
        ...
