"""A row store in memory, with which `ExternalSink` is tried where the kind of store does not matter."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import msgspec

from refold import faults
from refold.errors import StoreUnavailable
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Move
from refold.projections.columns import refuse_unkeepable
from refold.projections.conditions import Condition
from refold.projections.ordering import sorted_rows
from refold.projections.row_store import Standing
from refold.projections.sink import Loaded, Query


class MemoryRows:
    """See `RowStore`. `away` makes it unreachable; `versioned` makes it one without transactions: rows are written, and
    then, after a fault point, the checkpoint, as in a search index.
    """

    kind = "memory"
    name = "memory"

    def __init__(self, *, versioned: bool = False) -> None:
        self.tables: dict[str, dict[RowKey, tuple[ReadModel | None, int]]] = {}
        self.standings: dict[str, Standing] = {}
        self.away = False
        self._versioned = versioned

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("the rows in memory are away")

    async def prepare(self) -> None:
        self._reach()

    async def close(self) -> None:
        pass

    async def standing(self, name: str) -> Standing | None:
        self._reach()
        return self.standings.get(name)

    def lose(self, table: str) -> None:
        """Drops what a table is, behind everybody's back."""
        self.tables.pop(table, None)
        for name in [each for each in self.standings if each.partition(":")[0] == table]:
            del self.standings[name]

    async def create(self, definition: ReadModelDefinition, table: str, standings: Mapping[str, Standing]) -> None:
        self._reach()
        self.lose(table)
        self.tables[table] = {}
        self.standings.update(standings)

    async def drop(self, table: str) -> None:
        self._reach()
        self.lose(table)

    async def fence(self, name: str, epoch: int) -> Standing | None:
        self._reach()
        stands = self.standings.get(name)
        if stands is None:
            return None
        self.standings[name] = msgspec.structs.replace(stands, epoch=max(epoch, stands.epoch))
        return self.standings[name]

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        self._reach()
        return self._loaded(table, keys)

    def _loaded(self, table: str, keys: Sequence[RowKey]) -> Loaded:
        known = {key: self.tables[table][key] for key in keys if key in self.tables[table]}
        at = self.standings[table].position
        rows = {key: copy.deepcopy(row) for key, (row, _) in known.items() if row is not None}
        return Loaded(rows, {key: position for key, (_, position) in known.items() if position > at})

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        self._reach()
        name = move.of(table)
        if not self._holds(name, move):
            return False
        refuse_unkeepable(definition, rows)
        for key, row in [*((definition.key_of(row), row) for row in rows), *((key, None) for key in deleted)]:
            if self.tables[table].get(key, (None, 0))[1] <= move.after:
                self.tables[table][key] = (copy.deepcopy(row), move.after)
        if self._versioned:
            faults.at("external.rows_before_checkpoint")
            if not self._holds(name, move):
                return False
        self.standings[name] = msgspec.structs.replace(
            self.standings[name], position=move.after, append_id=move.append_id
        )
        return True

    def _holds(self, name: str, move: Move) -> bool:
        stands = self.standings.get(name)
        return stands is not None and stands.position == move.before and stands.epoch == move.epoch

    def _rename(self, table: str, new: str) -> None:
        self.tables[new] = self.tables.pop(table)
        for name in [each for each in self.standings if each.partition(":")[0] == table]:
            self.standings[new + name.removeprefix(table)] = self.standings.pop(name)

    async def switch(self, definition: ReadModelDefinition, table: str, place: str, kept: str | None) -> bool:
        self._reach()
        if table not in self.tables:
            return False
        if kept is not None:
            self.lose(kept)
        if place in self.tables and kept is not None:
            self._rename(place, kept)
        self.lose(place)
        self._rename(table, place)
        return True

    async def exchange(self, first: str, second: str) -> bool:
        self._reach()
        if first not in self.tables or second not in self.tables:
            return False
        for table, new in ((first, "exchange"), (second, first), ("exchange", second)):
            self._rename(table, new)
        return True

    async def read(
        self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey], query: Query | None
    ) -> tuple[Standing | None, Loaded, list[ReadModel]]:
        self._reach()
        stands = self.standings.get(table)
        if stands is None or stands.fingerprint != definition.fingerprint:
            return stands, Loaded({}), []
        found: list[ReadModel] = []
        if query is not None:
            there = [row for row, _ in self.tables[table].values() if row is not None]
            matching = [row for row in there if query.where is None or query.where.holds(row)]
            ordered = sorted_rows(matching, query.order)[query.offset :]
            found = [copy.deepcopy(row) for row in ordered[: query.limit]]
        seen = self._loaded(table, [definition.key_of(row) for row in found]).seen
        loaded = self._loaded(table, keys)
        return stands, Loaded(loaded.rows, {**seen, **loaded.seen}), found

    async def count(self, definition: ReadModelDefinition, table: str, where: Condition | None) -> int:
        self._reach()
        rows = [row for row, _ in self.tables[table].values() if row is not None]
        return sum(where is None or where.holds(row) for row in rows)
