"""Read models in Redis: a hash for each row. Rows and checkpoint change in one script, so they are always of the same
moment, whatever the server loses.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from refold import faults
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Move
from refold.projections.columns import refuse_unkeepable
from refold.projections.conditions import Condition
from refold.projections.ordering import found_among
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Loaded, Query, read_model_of_table
from refold.projections.sinks.redis_rows import RedisRow
from refold.projections.sinks.redis_server import RedisServer

__all__ = ["RedisRows", "open_redis"]

_KEYS_AT_ONCE = 2_000
_ALL_AT_ONCE = 20_000
"""So many rows of a query are read in one script, during which Redis does nothing else."""
_CLEARED_AT_ONCE = 1_000
_BYTES_AT_ONCE = 64 * 2**20
"""Rows of more bytes are sent in parts: Redis closes the connection at a value of 512 MiB or a command of 1 GiB."""
_SECONDS_STAGED = 600
_LOOKS = 20
_pack = msgspec.msgpack.Encoder().encode


async def open_redis(url: str) -> RowStore:
    """The rows in the Redis of a URL; it is not connected to yet. Raises `ConfigurationError`, `MissingExtra`."""
    return RedisRows(RedisServer(url))


class RedisRows:
    """See `RowStore`."""

    kind = "redis"

    def __init__(self, server: RedisServer) -> None:
        self.name = server.name
        self._server = server
        self._shapes: dict[tuple[type[ReadModel], str], RedisRow] = {}

    def _shape(self, definition: ReadModelDefinition) -> RedisRow:
        key = (definition.cls, definition.fingerprint)
        if key not in self._shapes:
            self._shapes[key] = RedisRow(definition)
        return self._shapes[key]

    async def _step(self, table: str, what: str, *arguments: Any) -> Any:
        return await self._server.step(read_model_of_table(table), what, *arguments)

    async def prepare(self) -> None:
        """See `RowStore.prepare`."""
        await self._server.examine()

    async def life(self) -> str:
        """See `Forgetful.life`: each run of each server has an id of its own."""
        return await self._server.run_id()

    async def close(self) -> None:
        """See `RowStore.close`."""
        await self._server.close()

    async def standing(self, name: str) -> Standing | None:
        """See `RowStore.standing`."""
        return _standing(await self._step(name, "standing", *_parts(name)))

    async def fence(self, name: str, epoch: int) -> Standing | None:
        """See `RowStore.fence`."""
        return _standing(await self._step(name, "fence", *_parts(name), epoch))

    async def create(self, definition: ReadModelDefinition, table: str, standings: Mapping[str, Standing]) -> None:
        """See `RowStore.create`."""
        checkpoints: list[str] = []
        for name, each in standings.items():
            checkpoints += (_parts(name)[1], each.fingerprint, str(each.epoch), str(each.position), each.append_id)
        await self._step(table, "create", table, secrets.token_hex(6), _pack(checkpoints))
        await self._clear_away(table)

    async def drop(self, table: str) -> None:
        """See `RowStore.drop`."""
        await self._step(table, "drop", table)
        await self._clear_away(table)

    async def _clear_away(self, table: str) -> None:
        """Unlinks, part by part, what no table points to any more, whoever left it there."""
        for orphan in await self._step(table, "orphans"):
            left = 1
            while left:
                left = await self._step(table, "clear", orphan, _CLEARED_AT_ONCE)

    async def load(self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]) -> Loaded:
        """See `RowStore.load`. A row is never ahead of its checkpoint here."""
        found: dict[RowKey, ReadModel] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            answer = await self._read(definition, table, keys[start : start + _KEYS_AT_ONCE])
            if answer is not None:
                found.update(answer[1])
        return Loaded(found)

    async def write(
        self,
        definition: ReadModelDefinition,
        table: str,
        rows: Sequence[ReadModel],
        deleted: Sequence[RowKey],
        move: Move,
    ) -> bool:
        """See `RowStore.write`."""
        refuse_unkeepable(definition, rows)
        shape = self._shape(definition)
        *parts, rest = _pieces([shape.written(row) for row in rows])
        page = secrets.token_hex(6) if parts else ""
        for number, part in enumerate(parts, 1):
            await self._step(table, "stage", page, number, part, _SECONDS_STAGED)
            faults.at("redis.part_staged")
        packed = rest, _pack([shape.key(key) for key in deleted])
        moved = (move.before, move.after, move.append_id, move.epoch)
        faults.at("redis.before_write")
        checkpoint = _parts(move.of(table))[1]
        return bool(await self._step(table, "write", table, checkpoint, *moved, *packed, page, len(parts)))

    async def switch(self, definition: ReadModelDefinition, table: str, place: str, kept: str | None) -> bool:
        """See `RowStore.switch`."""
        new, _ = await self._step(table, "generations", table, place)
        if new is None:
            return False
        done = bool(await self._step(table, "switch", table, place, kept or "", new))
        await self._clear_away(table)
        return done

    async def exchange(self, first: str, second: str) -> bool:
        """See `RowStore.exchange`."""
        found = await self._step(first, "generations", first, second)
        return None not in found and bool(await self._step(first, "exchange", first, second, *found))

    async def read(
        self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey], query: Query | None
    ) -> tuple[Standing | None, Loaded, list[ReadModel]]:
        """See `RowStore.read`. Redis is for reading by key: a query looks at every row."""
        if query is None and len(keys) <= _KEYS_AT_ONCE:
            answer = await self._read(definition, table, keys)
            return (None, Loaded({}), []) if answer is None else (answer[0], Loaded(answer[1]), [])
        answer = await self._read_all(definition, table)
        if answer is None:
            return None, Loaded({}), []
        stands, rows = answer
        wanted = {key: rows[key] for key in keys if key in rows}
        return stands, Loaded(wanted), [] if query is None else found_among(rows.values(), query)

    async def count(self, definition: ReadModelDefinition, table: str, where: Condition | None) -> int:
        """See `RowStore.count`."""
        if where is None:
            return int(await self._step(table, "count", table))
        answer = await self._read_all(definition, table)
        return 0 if answer is None else sum(where.holds(row) for row in answer[1].values())

    async def _read(
        self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey]
    ) -> tuple[Standing, dict[RowKey, ReadModel]] | None:
        shape = self._shape(definition)
        answer = await self._step(table, "read", table, "", _pack([shape.key(key) for key in keys]))
        if not answer:
            return None
        stands = _standing(answer[0])
        assert stands is not None
        if stands.fingerprint != definition.fingerprint:
            return stands, {}
        found = [shape.row(flat, table) for flat in answer[1] if flat]
        return stands, {definition.key_of(row): row for row in found}

    async def _read_all(
        self, definition: ReadModelDefinition, table: str
    ) -> tuple[Standing, dict[RowKey, ReadModel]] | None:
        """All rows as they were at one moment: in one script when they are few; else piece by piece, until nothing was
        written meanwhile.
        """
        shape = self._shape(definition)
        for look in range(_LOOKS + 1):
            limit = _ALL_AT_ONCE if look < _LOOKS else 2**53
            answer = await self._step(table, "read", table, limit, _pack([]))
            if not answer:
                return None
            stands = _standing(answer[0])
            assert stands is not None
            if stands.fingerprint != definition.fingerprint:
                return stands, {}
            flat = answer[1]
            if flat is None:
                flat = await self._server.rows(read_model_of_table(table), answer[2].decode(), _KEYS_AT_ONCE)
                again = await self._step(table, "read", table, 0, _pack([]))
                if not again or again[0] != answer[0] or again[2] != answer[2]:
                    continue
            found = [shape.row(each, table) for each in flat if each]
            return stands, {definition.key_of(row): row for row in found}
        return None


def _parts(name: str) -> tuple[str, str]:
    """The table of a checkpoint, and what it has behind it."""
    table, colon, shard = name.partition(":")
    return table, colon + shard


def _pieces(written: list[Any]) -> list[bytes]:
    """Packed, in as many pieces as keep each small; one row is always one piece."""
    packed = _pack(written)
    if len(packed) <= _BYTES_AT_ONCE or len(written) == 1:
        return [packed]
    middle = len(written) // 2
    return _pieces(written[:middle]) + _pieces(written[middle:])


def _standing(answer: Sequence[bytes] | None) -> Standing | None:
    if not answer:
        return None
    position, append_id, fingerprint, epoch = answer
    return Standing(
        position=int(position), append_id=append_id.decode(), fingerprint=fingerprint.decode(), epoch=int(epoch)
    )
