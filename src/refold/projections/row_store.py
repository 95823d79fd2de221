"""A row store: a place for rows outside of the log's database. One class for each kind; `ExternalSink` makes a sink of
it.

Who owns a projection, and what became of it, is kept beside the log. A row store keeps only the rows and how far they
have seen the log, together, so that both are always of the same moment, whatever is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Move
from refold.projections.conditions import Condition
from refold.projections.sink import Loaded, Query

__all__ = ["Forgetful", "FullText", "RowStore", "Standing"]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far the rows of a table have seen the log: the last position scanned, the append id (hex) of the event there,
    the fingerprint of the definition that wrote them, and the highest epoch that may move it.
    """

    position: int = 0
    append_id: str = ""
    fingerprint: str = ""
    epoch: int = 0


@runtime_checkable
class FullText(Protocol):
    """What a row store that is made for full-text search does beside."""

    async def search(
        self, definition: ReadModelDefinition, text: str, limit: int, fields: Sequence[str] | None = None
    ) -> list[ReadModel]:
        """The rows that fit a text, the best first. Raises `InvalidQuery`, `ProjectionStopped`."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """What a row store does beside that may lose its last moments, with the rows and the checkpoint that was with them:
    a restart, or another server in its place.
    """

    async def life(self) -> str:
        """Another text whenever it may have lost what it had acknowledged. Raises `StoreUnavailable`."""
        ...


class RowStore(Protocol):
    """Rows of read models in one store of another kind.

    `table` is a read model's name, or that with `__building` or `__previous` behind it: three versions at most, of
    which the first is read. `name` is a checkpoint: that of a table has its name; those of its shards have `:` and more
    behind it. All checkpoints of a table live and die with it. Every method raises `StoreUnavailable` when the store
    cannot be reached (also while a page was written: the outcome is found out by `standing`), `ConfigurationError` when
    it refuses the login or cannot do what is needed; both say what to do, and never show a secret.
    """

    kind: str
    """One word: `redis`, `opensearch`, …"""

    name: str
    """What people call it: kind, host and place, without secrets."""

    async def prepare(self) -> None:
        """Connects, looks whether the store can do what is needed, creates what the store itself needs; safe when
        several processes do it at once.
        """
        ...

    async def close(self) -> None:
        """Gives connections back."""
        ...

    async def standing(self, name: str) -> Standing | None:
        """How far a checkpoint is; None when it is not there (never made, dropped, or lost by the store)."""
        ...

    async def create(self, definition: ReadModelDefinition, table: str, standings: Mapping[str, Standing]) -> None:
        """Makes the table anew, empty, with these checkpoints; what was there of ours under that name is gone.

        Raises `ConfigurationError` when something of that name is there that is not ours: it is left as it is.
        """
        ...

    async def drop(self, table: str) -> None:
        """Drops a table and its checkpoints, if they are there and ours."""
        ...

    async def fence(self, name: str, epoch: int) -> Standing | None:
        """From now on only moves of exactly this epoch hold, unless a higher one was fenced before; gives how it stands
        now (with the higher epoch), None when the checkpoint is not there.
        """
        ...

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """The rows of these keys that there are. Where rows are not written in one step with the checkpoint, each keeps
        the position up to which it has seen the log, deleted ones too; `seen` gives it for all that are ahead of the
        checkpoint, so that no event is folded into a row twice.
        """
        ...

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """Writes rows and moves the checkpoint `move.name`, such that whatever happens the outcome is as if it
        were one step. False: the checkpoint does not stand at `move.before`, or belongs to another epoch; nothing that
        anyone can read was changed.

        Raises `InvalidQuery` for a value that the store cannot keep (naming field and key).
        """
        ...

    async def switch(self, definition: ReadModelDefinition, table: str, place: str, kept: str | None) -> bool:
        """Puts `table` in the place of `place`, in one step for whoever reads, with its checkpoints. What was in
        `place` becomes `kept` (or is dropped, when that is None); what was `kept` is dropped. False: no such table.
        """
        ...

    async def exchange(self, first: str, second: str) -> bool:
        """Exchanges two tables with their checkpoints, in one step for who reads the first. False: one is absent."""
        ...

    async def read(
        self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey], query: Query | None
    ) -> tuple[Standing | None, Loaded, list[ReadModel]]:
        """How the table stands, the rows of the keys, and those of the query, such that no row is older than the
        standing says (of shards the lowest); `seen` is for the keys and for what the query found. None: no such table.
        Rows of another definition (the standing has its fingerprint) are not looked at.
        """
        ...

    async def count(self, definition: ReadModelDefinition, table: str, where: Condition | None) -> int:
        """The number of rows."""
        ...
