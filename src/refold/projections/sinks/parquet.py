"""Read models in Parquet files, for DuckDB and its like. A page of rows and the checkpoint behind it are one file,
which is there when it gets its name.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from refold import faults
from refold.errors import ConfigurationError, StoreFull, StoreReadOnly, StoreUnavailable
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Move
from refold.projections.conditions import Condition
from refold.projections.ordering import sorted_rows
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Loaded, Query, read_model_of_table
from refold.projections.sinks.parquet_files import DataFile, Generation, Snapshot
from refold.projections.sinks.parquet_folder import ModelFolder
from refold.projections.sinks.parquet_partitions import refuse_partition
from refold.projections.sinks.parquet_rows import DELETED, KEY, ParquetRow

__all__ = ["ParquetRows", "open_parquet"]

_LOOKS = 20
_EXPECTED = "use parquet:///path/of/a/folder or parquet:///path/of/a/folder?partition=field"
_Result = TypeVar("_Result")


async def open_parquet(url: str) -> RowStore:
    """The rows in the folder of a URL; it need not be there yet. Raises `ConfigurationError`, `MissingExtra`."""
    parts = urlsplit(url)
    if parts.netloc or not parts.path.strip("/") or parts.fragment:
        raise ConfigurationError(f"the URL of Parquet files is a path, without a host; {_EXPECTED}")
    try:
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:
        options = {"": []}
    partition = options.pop("partition", [""])[-1]
    if options or (parts.query and not partition):
        raise ConfigurationError(f"the URL of Parquet files has no option but partition; {_EXPECTED}")
    return ParquetRows(Path(unquote(parts.path)), partition or None)


class ParquetRows:
    """See `RowStore`. What touches the disk runs in threads."""

    kind = "parquet"

    def __init__(self, folder: Path, partition: str | None = None) -> None:
        """`partition`: the field of the key by whose values the files of new tables are in folders."""
        self.name = f"parquet in {folder}"
        self._root = folder
        self._partition = partition
        self._folders: dict[str, ModelFolder] = {}
        self._shapes: dict[tuple[type[ReadModel], str], ParquetRow] = {}

    def _folder(self, table: str) -> ModelFolder:
        # A folder that is away is not one that was emptied: its rows come back with it.
        if not self._root.is_dir():
            raise StoreUnavailable(f"{self.name} cannot be reached: the folder is not there; is its disk mounted?")
        name = read_model_of_table(table)
        if name not in self._folders:
            self._folders[name] = ModelFolder(self._root, name, self._partition)
        return self._folders[name]

    def _shape(self, definition: ReadModelDefinition) -> ParquetRow:
        key = (definition.cls, definition.fingerprint)
        if key not in self._shapes:
            self._shapes[key] = ParquetRow(definition)
        return self._shapes[key]

    async def _run(self, step: Callable[[], _Result]) -> _Result:
        try:
            return await asyncio.to_thread(step)
        except OSError as problem:
            raise self._refused(problem) from None

    async def _look(self, step: Callable[[], _Result]) -> _Result:
        """Looks again when a generation was removed, or files merged long ago, while it was looked at."""

        def looking() -> _Result:
            for _ in range(_LOOKS):
                try:
                    return step()
                except FileNotFoundError:
                    continue
            return step()

        return await self._run(looking)

    def _refused(self, problem: OSError) -> Exception:
        text = f"{problem.strerror or problem} ({problem.filename})" if problem.filename else str(problem)
        if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return StoreFull(f"{self.name} is full: {text}")
        if problem.errno == errno.EROFS:
            return StoreReadOnly(f"{self.name} takes no writes: {text}")
        if problem.errno in (errno.EACCES, errno.EPERM):
            return ConfigurationError(f"{self.name} does not let this user in: {text}; change its rights")
        if problem.errno in (errno.ENOTDIR, errno.EEXIST):
            return ConfigurationError(f"{self.name} is no folder: {text}; {_EXPECTED}")
        return StoreUnavailable(f"{self.name} cannot be reached: {text}")

    async def prepare(self) -> None:
        """See `RowStore.prepare`."""
        await self._run(lambda: self._root.mkdir(parents=True, exist_ok=True))

    async def close(self) -> None:
        """See `RowStore.close`."""

    async def standing(self, name: str) -> Standing | None:
        """See `RowStore.standing`."""

        def step() -> Standing | None:
            generation = self._folder(name).generation(_parts(name)[0])
            return None if generation is None else generation.snapshot().standings.get(_parts(name)[1])

        return await self._look(step)

    async def fence(self, name: str, epoch: int) -> Standing | None:
        """See `RowStore.fence`."""
        table, shard = _parts(name)

        def step() -> Standing | None:
            folder = self._folder(name)
            if folder.generation(table) is None:
                return None
            with folder.locked():
                generation = folder.generation(table)
                stands = None if generation is None else generation.snapshot().standings.get(shard)
                if generation is None or stands is None or stands.epoch >= epoch:
                    return stands
                generation.fence(shard, epoch)
                return generation.snapshot().standings[shard]

        return await self._run(step)

    async def create(self, definition: ReadModelDefinition, table: str, standings: Mapping[str, Standing]) -> None:
        """See `RowStore.create`. Raises `ConfigurationError` for a partition that cannot be one."""
        self._shape(definition)
        if self._partition is not None:
            refuse_partition(definition, self._partition)

        def step() -> None:
            folder = self._folder(table)
            with folder.locked():
                folder.make(table, {_parts(name)[1]: each for name, each in standings.items()})

        await self._run(step)

    async def drop(self, table: str) -> None:
        """See `RowStore.drop`."""

        def step() -> None:
            folder = self._folder(table)
            if table in folder.tables():
                with folder.locked():
                    folder.publish({name: each for name, each in folder.tables().items() if name != table})

        await self._run(step)

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """See `RowStore.load`. A row is never ahead of its checkpoint here."""
        return (await self.read(definition, table, keys, None))[1]

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """See `RowStore.write`."""
        shape, shard = self._shape(definition), _parts(move.of(table))[1]

        def step() -> bool:
            folder = self._folder(table)
            if folder.generation(table) is None:
                return False
            faults.at("parquet.before_write")
            with folder.locked():
                generation = folder.generation(table)
                if generation is None:
                    return False
                now = generation.snapshot()
                stands = now.standings.get(shard)
                if stands is None or stands.position != move.before or stands.epoch != move.epoch:
                    return False
                after = Standing(
                    position=move.after, append_id=move.append_id, fingerprint=stands.fingerprint, epoch=stands.epoch
                )
                page = shape.table(rows, deleted, now.page + 1)
                generation.add(now, page, {**now.standings, shard: after}, f"{move.before}-{move.after}")
                # The page is there, so it is no failure when there was no room to merge; the next page tries again.
                with suppress(OSError):
                    generation.merge()
            return True

        return await self._run(step)

    async def switch(self, definition: ReadModelDefinition, table: str, place: str, kept: str | None) -> bool:
        """See `RowStore.switch`."""

        def step() -> bool:
            folder = self._folder(table)
            with folder.locked():
                tables = folder.tables()
                if folder.generation(table) is None:
                    return False
                new, old = tables.pop(table), tables.pop(place, None)
                if kept is not None:
                    tables.pop(kept, None)
                    tables |= {} if old is None else {kept: old}
                folder.publish({**tables, place: new})
            return True

        return await self._run(step)

    async def exchange(self, first: str, second: str) -> bool:
        """See `RowStore.exchange`."""

        def step() -> bool:
            folder = self._folder(first)
            with folder.locked():
                tables = folder.tables()
                if folder.generation(first) is None or folder.generation(second) is None:
                    return False
                folder.publish({**tables, first: tables[second], second: tables[first]})
            return True

        return await self._run(step)

    async def read(
        self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey], query: Query | None
    ) -> tuple[Standing | None, Loaded, list[ReadModel]]:
        """See `RowStore.read`. All is read from the same files, which nobody changes."""

        def step() -> tuple[Standing | None, Loaded, list[ReadModel]]:
            generation = self._folder(table).generation(table)
            if generation is None:
                return None, Loaded({}), []
            now = generation.snapshot()
            stands = min(now.standings.values(), key=lambda each: each.position, default=None)
            if stands is None or stands.fingerprint != definition.fingerprint:
                return stands, Loaded({}), []
            wanted = self._of_keys(definition, generation, now, keys)
            found = [] if query is None else self._found(definition, generation, now, query)
            return stands, Loaded({definition.key_of(row): row for row in wanted}), found

        return await self._look(step)

    async def count(self, definition: ReadModelDefinition, table: str, where: Condition | None) -> int:
        """See `RowStore.count`."""

        def step() -> int:
            generation = self._folder(table).generation(table)
            if generation is None:
                return 0
            newest = _newest(generation, generation.snapshot())
            if where is None:
                return sum(each.num_rows for each in newest)
            shape = self._shape(definition)
            return sum(where.holds(row) for each in newest for row in shape.rows(each, table))

        return await self._look(step)

    def _of_keys(
        self, definition: ReadModelDefinition, generation: Generation, now: Snapshot, keys: Sequence[RowKey]
    ) -> list[ReadModel]:
        shape = self._shape(definition)
        wanted: dict[str, set[str]] = {}
        for key in keys:
            wanted.setdefault(generation.part_of(definition, key), set()).add(shape.key(key))
        rows: list[ReadModel] = []
        for part, of_part in wanted.items():
            left = sorted(of_part)
            for file in reversed(now.parts.get(part, [])):
                if not left:
                    break
                seen: set[str] = set()
                for found in generation.groups.rows_of(file.path, left):
                    seen.update(found.column(KEY).to_pylist())
                    rows += shape.rows(found.filter(pc.invert(found.column(DELETED))), definition.name)
                left = [key for key in left if key not in seen] if seen else left
        return rows

    def _found(
        self, definition: ReadModelDefinition, generation: Generation, now: Snapshot, query: Query
    ) -> list[ReadModel]:
        shape, where = self._shape(definition), query.where
        found: list[ReadModel] = []
        for table in _newest(generation, now):
            rows = shape.rows(table, definition.name)
            found += rows if where is None else [row for row in rows if where.holds(row)]
        ordered = sorted_rows(found, query.order)[query.offset :]
        return ordered if query.limit is None else ordered[: query.limit]


def _newest(generation: Generation, now: Snapshot) -> Iterator[pa.Table]:
    """The newest row of each key, piece by piece. Only the keys of the younger files are held in memory."""
    for files in now.parts.values():
        yield from _newest_of(generation, files)


def _newest_of(generation: Generation, files: Sequence[DataFile]) -> Iterator[pa.Table]:
    seen: list[pa.ChunkedArray] = []
    for file in reversed(files):
        younger = pa.chunked_array([chunk for each in seen for chunk in each.chunks], pa.string())
        mine = []
        for group in generation.groups.all(file.path):
            mine.append(group.column(KEY))
            rows = group.filter(pc.invert(pc.is_in(group.column(KEY), value_set=younger))) if len(younger) else group
            yield rows.filter(pc.invert(rows.column(DELETED)))
        seen += mine


def _parts(name: str) -> tuple[str, str]:
    """The table of a checkpoint, and what it has behind it."""
    table, colon, shard = name.partition(":")
    return table, colon + shard
