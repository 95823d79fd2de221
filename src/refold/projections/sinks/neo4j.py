"""Read models in Neo4j: a node for each row, or a relationship between two nodes. Rows and checkpoint change in one
transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from refold import faults
from refold.folds.read_model import ReadModel, ReadModelDefinition, RowKey
from refold.projections.checkpoint import Move
from refold.projections.conditions import Condition
from refold.projections.ordering import found_among
from refold.projections.row_store import RowStore, Standing
from refold.projections.sink import Loaded, Query
from refold.projections.sinks.neo4j_queries import narrow, sort_key, sorts_alike
from refold.projections.sinks.neo4j_rows import Shape, quoted, resent
from refold.projections.sinks.neo4j_server import Run, Server
from refold.projections.sinks.neo4j_tables import WITHOUT_RELATIONSHIPS, Held, Tables

__all__ = ["Neo4jRows", "open_neo4j"]

_ROWS_AT_ONCE = 5_000
_CHARACTERS_AT_ONCE = 4 * 2**20
"""Rows of more are sent in several statements of the same transaction."""
_KEYS_AT_ONCE = 10_000
_LOOKS = 10
_Found = TypeVar("_Found")
_Properties = list[dict[str, Any]]


async def open_neo4j(url: str) -> RowStore:
    """The rows in the Neo4j of a URL; it is not connected to yet. Raises `ConfigurationError`, `MissingExtra`."""
    return Neo4jRows(Server(url))


class Neo4jRows:
    """See `RowStore`."""

    kind = "neo4j"

    def __init__(self, server: Server) -> None:
        self.name = server.name
        self._server = server
        self._tables = Tables(server)
        self._shapes: dict[str, Shape] = {}

    def _shape(self, definition: ReadModelDefinition) -> Shape:
        if definition.fingerprint not in self._shapes:
            self._shapes[definition.fingerprint] = Shape(definition, self._server.prefix)
        return self._shapes[definition.fingerprint]

    async def prepare(self) -> None:
        """See `RowStore.prepare`."""
        await self._server.examine()

    async def close(self) -> None:
        """See `RowStore.close`."""
        await self._server.close()

    async def standing(self, name: str) -> Standing | None:
        """See `RowStore.standing`."""
        return await self._tables.standing(name)

    async def create(self, definition: ReadModelDefinition, table: str, standings: Mapping[str, Standing]) -> None:
        """See `RowStore.create`."""
        await self._tables.create(self._shape(definition), table, standings)

    async def drop(self, table: str) -> None:
        """See `RowStore.drop`."""
        await self._tables.drop(table)

    async def fence(self, name: str, epoch: int) -> Standing | None:
        """See `RowStore.fence`."""
        return await self._tables.fence(name, epoch)

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
        shape = self._shape(definition)
        try:
            parts, gone = _parts(shape.properties(rows)), shape.keys(deleted)
            return await self._server.attempt(lambda run: self._write(run, shape, table, parts, gone, move))
        except UnicodeEncodeError:
            shape.refuse_half_characters(rows, deleted)

    async def _write(
        self,
        run: Run,
        shape: Shape,
        table: str,
        parts: list[list[dict[str, Any]]],
        deleted: list[dict[str, Any]],
        move: Move,
    ) -> bool:
        stored_as = await self._tables.move(run, move.of(table), move.before, move.epoch, move.after, move.append_id)
        if stored_as is None:
            return False
        faults.at("neo4j.checkpoint_before_rows")
        put = _put_relationships if shape.is_relationship else _put_nodes
        for part in parts:
            await put(run, shape, stored_as, part)
        if deleted:
            await _remove(run, shape, stored_as, deleted)
        faults.at("neo4j.before_commit")
        return True

    async def switch(self, definition: ReadModelDefinition, table: str, place: str, kept: str | None) -> bool:
        """See `RowStore.switch`."""
        return await self._tables.switch(table, place, kept)

    async def exchange(self, first: str, second: str) -> bool:
        """See `RowStore.exchange`."""
        return await self._tables.exchange(first, second)

    async def read(
        self, definition: ReadModelDefinition, table: str, keys: Sequence[RowKey], query: Query | None
    ) -> tuple[Standing | None, Loaded, list[ReadModel]]:
        """See `RowStore.read`."""
        shape = self._shape(definition)
        wanted = shape.keys(keys)

        async def look(run: Run, held: Held) -> tuple[_Properties, _Properties]:
            stands = held.lowest
            if stands is None or stands.fingerprint != definition.fingerprint:
                return [], []
            return (
                await _of_keys(run, shape, held, wanted),
                [] if query is None else await _narrowed(run, shape, held, query),
            )

        try:
            seen = await self._of_one_moment(table, look, short=query is None)
        except UnicodeEncodeError:
            shape.refuse_half_characters([], keys)
        if seen is None:
            return None, Loaded({}), []
        held, (of_keys, found) = seen
        rows = [shape.row(each, table) for each in of_keys]
        answer = [] if query is None else found_among((shape.row(each, table) for each in found), query)
        return held.lowest, Loaded({definition.key_of(row): row for row in rows}), answer

    async def count(self, definition: ReadModelDefinition, table: str, where: Condition | None) -> int:
        """See `RowStore.count`."""
        shape = self._shape(definition)
        narrowed = narrow(shape, where)
        # Without a condition the number is one that the server has at hand.
        condition = f" WHERE {narrowed.text}" if where is not None else ""

        async def number(run: Run, held: Held) -> int:
            statement = f"MATCH {shape.pattern(held.stored_as)}{condition} RETURN count(n) AS number"
            answer: int = (await run(statement, narrowed.parameters))[0]["number"]
            return answer

        if not narrowed.exact:
            return len((await self.read(definition, table, [], Query(where)))[2])
        seen = await self._of_one_moment(table, number)
        return 0 if seen is None else seen[1]

    async def _of_one_moment(
        self, table: str, look: Callable[[Run, Held], Awaitable[_Found]], *, short: bool = False
    ) -> tuple[Held, _Found] | None:
        """What a look finds, of one moment: under the lock that writers take when it is short; else between two short
        holds of it, until nothing was written meanwhile (rows may be half written in what is thrown away). None: no
        such table.
        """

        async def hold(run: Run) -> Held | None:
            return await self._tables.hold(run, table)

        async def look_holding(run: Run) -> tuple[Held, _Found] | None:
            held = await hold(run)
            return None if held is None else (held, await look(run, held))

        for _ in range(0 if short else _LOOKS):
            before = await self._server.attempt(hold)
            if before is None:
                return None
            found = await look(self._server.run, before)
            after = await self._server.attempt(hold)
            if after is not None and not after.moved_since(before):
                return before, found
        return await self._server.attempt(look_holding)


async def _of_keys(run: Run, shape: Shape, held: Held, keys: Sequence[dict[str, Any]]) -> _Properties:
    one = shape.pattern(held.stored_as, shape.keyed("key"))
    found: _Properties = []
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        part = keys[start : start + _KEYS_AT_ONCE]
        answer = await run(f"UNWIND $keys AS key MATCH {one} RETURN properties(n) AS row", {"keys": part})
        found += [each["row"] for each in answer]
    return found


async def _narrowed(run: Run, shape: Shape, held: Held, query: Query) -> _Properties:
    """At least what a query asks for, and not much more where the server can tell."""
    narrowed = narrow(shape, query.where)
    matched = f"MATCH {shape.pattern(held.stored_as)} WHERE {narrowed.text}"
    parameters = narrowed.parameters
    key = sort_key(shape, query.order[0]) if query.order and narrowed.exact and query.limit else None
    if key is not None:
        # The rows up to the last one wanted, and all that the server cannot tell from it.
        descending = query.order[0].descending
        down = " DESC" if descending else ""
        bound = f"""{matched} AND {key} IS NOT NULL
WITH {key} AS value ORDER BY value{down} SKIP $before LIMIT 1 RETURN value"""
        last = await run(bound, {**parameters, "before": query.offset + (query.limit or 0) - 1})
        if last and sorts_alike(last[0]["value"]):
            matched += f" AND {key} {'>=' if descending else '<='} $last"
            parameters = {**parameters, "last": resent(last[0]["value"])}
    return [each["row"] for each in await run(f"{matched} RETURN properties(n) AS row", parameters)]


async def _put_nodes(run: Run, shape: Shape, stored_as: str, rows: list[dict[str, Any]]) -> None:
    await run(f"UNWIND $rows AS row MERGE {shape.pattern(stored_as, shape.keyed('row'))} SET n = row", {"rows": rows})


async def _put_relationships(run: Run, shape: Shape, stored_as: str, rows: list[dict[str, Any]]) -> None:
    """Those that are there are changed; the others are made, and the nodes between which they are.

    Found by the index of their key: `MERGE` would look through all relationships of a node.
    """
    first, second = (f":{quoted(label)} {{id: row.{quoted(name)}}}" for name, label in shape.ends)
    statement = f"""UNWIND $rows AS row OPTIONAL MATCH {shape.pattern(stored_as, shape.keyed("row"))}
FOREACH (there IN CASE WHEN n IS NULL THEN [] ELSE [n] END | SET there = row)
WITH row, n WHERE n IS NULL
MERGE (a{first}) MERGE (b{second}) CREATE (a)-[new:{quoted(stored_as)}]->(b) SET new = row"""
    await run(statement, {"rows": rows})


async def _remove(run: Run, shape: Shape, stored_as: str, keys: list[dict[str, Any]]) -> None:
    found = f"UNWIND $keys AS key MATCH {shape.pattern(stored_as, shape.keyed('key'))}"
    if not shape.is_relationship:
        await run(f"{found} DETACH DELETE n", {"keys": keys})
        return
    await run(f"{found} DELETE n WITH collect(start) + collect(end) AS ends {WITHOUT_RELATIONSHIPS}", {"keys": keys})


def _parts(rows: list[tuple[dict[str, Any], int]]) -> list[list[dict[str, Any]]]:
    """In as many parts as keep each small; one row is always in one part."""
    parts: list[list[dict[str, Any]]] = []
    size = _CHARACTERS_AT_ONCE + 1
    for row, characters in rows:
        if size + characters > _CHARACTERS_AT_ONCE or len(parts[-1]) >= _ROWS_AT_ONCE:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += characters
    return parts
