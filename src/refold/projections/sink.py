"""A sink: where the rows of read models live. One class for each kind of store; all pass one contract suite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Checkpoint, Move
from refold.projections.conditions import Condition, Order

__all__ = ["InlineRows", "Query", "Sink", "building"]


def building(name: str) -> str:
    """The name under which the next version of a read model is built, beside the one that is read."""
    return f"{name}__building"


class Query:
    """What `find` and `count` ask for."""

    def __init__(
        self, where: Condition | None, order: Sequence[Order] = (), limit: int | None = None, offset: int = 0
    ) -> None:
        self.where = where
        self.order = tuple(order)
        self.limit = limit
        self.offset = offset


class Sink(Protocol):
    """Rows and checkpoints in one store. `table` is the read model's name, or `building(name)`.

    Every method raises `StoreUnavailable` when the store cannot be reached.
    """

    async def prepare(self) -> None:
        """Creates what the sink itself needs; safe when several processes do it at once."""
        ...

    async def checkpoint(self, name: str) -> Checkpoint | None:
        """One checkpoint."""
        ...

    async def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints; none where no read model was ever kept."""
        ...

    async def register(self, definition: ReadModelDefinition, table: str) -> None:
        """Creates the table and its checkpoint at position 0, unless they are there."""
        ...

    async def drop(self, table: str) -> None:
        """Drops a table and its checkpoint, if they are there."""
        ...

    async def claim(self, name: str, owner: str, seconds: float, *, force: bool = False) -> Checkpoint | None:
        """Makes `owner` the owner for so long, in a new epoch, if nobody else is (or by force). None: somebody is."""
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

    async def load(
        self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]
    ) -> dict[RowKey, ReadModel]:
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
        """Writes rows and moves the checkpoint, all or nothing. False: the move does not hold, nothing was written."""
        ...

    async def switch(self, definition: ReadModelDefinition, epoch: int) -> bool:
        """Puts the built table in the place of the read one, with its checkpoint, in one transaction.

        `epoch` is the built one's. False: it belongs to another epoch by now.
        """
        ...

    async def read(
        self, definition: ReadModelDefinition, keys: Sequence[RowKey], query: Query | None
    ) -> tuple[int, dict[RowKey, ReadModel], list[ReadModel]]:
        """From one snapshot: the checkpoint's position, the rows of the keys, and the rows of the query."""
        ...

    async def count(self, definition: ReadModelDefinition, where: Condition | None) -> int:
        """The number of rows."""
        ...


class InlineRows(Protocol):
    """A sink that can change rows in the appending transaction."""

    def install(self, definitions: Sequence[ReadModelDefinition], decode: Any) -> None:
        """Makes the store call it with each append. `decode` turns a stored event into a recorded one."""
        ...
