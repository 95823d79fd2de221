"""Which rows are whose in a graph: a node for each table, which says by what label (or type) its rows are found, and
one for each checkpoint.

    (:RefoldTable {name: "payment", stored_as: "PAYMENT_3"})      the one pointer that a switch turns
    (:RefoldCheckpoint {name: "PAYMENT_3", position: …})          one for each shard
    (:RefoldGeneration {stored_as: "PAYMENT_2", dropped: true})   what is ours, or has to be cleared away
    (:RefoldReadModel {name: "payment", generations: 3})          a number is never given twice

Neo4j has no snapshots, and what one commit changes comes into sight bit by bit. Whoever needs all of it takes the lock
of the checkpoint, which the writer holds until its commit is in sight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from refold import faults
from refold.errors import ConfigurationError
from refold.projections.row_store import Standing
from refold.projections.sink import read_model_of_table
from refold.projections.sinks.neo4j_rows import Shape, quoted
from refold.projections.sinks.neo4j_server import Clashed, Run, Server

__all__ = ["Held", "Tables"]

_CLEARED_AT_ONCE = 5_000
_KEYS = {"Table": "name", "Checkpoint": "name", "Generation": "stored_as", "ReadModel": "name", "Node": "label"}
_INDEXES = """SHOW INDEXES YIELD name, labelsOrTypes, properties WHERE name STARTS WITH 'refold_'
RETURN name, labelsOrTypes AS labels, properties"""
_ONE = "MATCH (t:RefoldTable {name: $table}) MATCH (c:RefoldCheckpoint {name: t.stored_as + $shard})"
_ALL = "MATCH (t:RefoldTable {name: $table}) MATCH (c:RefoldCheckpoint {stored_as: t.stored_as})"
# Says whose lock it is, not what the pointer says by then: it may have been turned while the lock was waited for.
_LOCK = "SET c.locked = true REMOVE c.locked RETURN DISTINCT c.stored_as AS stored_as"
_LOCK_ONE = f"{_ONE} {_LOCK}"
_LOCK_ALL = f"{_ALL} WITH t, c ORDER BY c.name {_LOCK}"
_STANDINGS = f"{_ALL} RETURN c.stored_as AS stored_as, c.shard AS shard, c {{.*}} AS standing ORDER BY c.name"
_STANDING = f"{_ONE} RETURN c {{.*}} AS standing"
_MOVE = f"""{_ONE} WHERE c.position = $before AND c.epoch = $epoch
SET c.position = $after, c.append_id = $append_id RETURN c.stored_as AS stored_as"""
_FENCE = f"""{_ONE} SET c.epoch = CASE WHEN c.epoch < $epoch THEN $epoch ELSE c.epoch END
RETURN c.stored_as AS stored_as, c {{.*}} AS standing"""
_LOCK_MODEL = "MATCH (m:RefoldReadModel {name: $model}) SET m.locked = true REMOVE m.locked RETURN m.name AS name"
_NEXT = """MERGE (m:RefoldReadModel {name: $model})
SET m.generations = coalesce(m.generations, 0) + 1 RETURN m.generations AS number"""
_BEGUN = """CREATE (:RefoldGeneration
{stored_as: $stored_as, model: $model, relationships: $relationships, dropped: true})"""
_CHOSEN = "MATCH (g:RefoldGeneration {stored_as: $stored_as, dropped: true}) REMOVE g.dropped RETURN g.model AS model"
_MADE = """MERGE (t:RefoldTable {name: $table}) SET t.stored_as = $stored_as
WITH t UNWIND $checkpoints AS each CREATE (c:RefoldCheckpoint) SET c = each"""
_RETIRE = """MATCH (t:RefoldTable {name: $table}) MATCH (g:RefoldGeneration {stored_as: t.stored_as})
SET g.dropped = true WITH t, g OPTIONAL MATCH (c:RefoldCheckpoint {stored_as: g.stored_as}) DELETE c"""
_UNNAME = "MATCH (t:RefoldTable {name: $table}) DELETE t"
_NAME = "MERGE (t:RefoldTable {name: $table}) SET t.stored_as = $stored_as"
_DROPPED = """MATCH (g:RefoldGeneration {model: $model, dropped: true})
RETURN g.stored_as AS stored_as, g.relationships AS relationships"""
_LOCK_DROPPED = """MATCH (g:RefoldGeneration {stored_as: $stored_as, dropped: true})
SET g.locked = true REMOVE g.locked RETURN 1 AS there"""
_CLEARED = "MATCH (g:RefoldGeneration {stored_as: $stored_as, dropped: true}) DELETE g"
WITHOUT_RELATIONSHIPS = "UNWIND ends AS n WITH DISTINCT n WHERE NOT EXISTS { (n)--() } AND size(keys(n)) = 1 DELETE n"
"""Removes nodes that were only there for relationships, unless somebody has added to them."""


class Held(msgspec.Struct, frozen=True):
    """How a table stands: by what label or type its rows are found, and its checkpoints by shard."""

    stored_as: str
    standings: Mapping[str, Standing]

    @property
    def lowest(self) -> Standing | None:
        """Of all shards the one that has seen least."""
        return min(self.standings.values(), key=lambda each: each.position, default=None)

    def moved_since(self, before: Held) -> bool:
        """Whether rows may have changed."""
        at = {shard: each.position for shard, each in self.standings.items()}
        return self.stored_as != before.stored_as or at != {s: each.position for s, each in before.standings.items()}


class Tables:
    """The tables of one place."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rehearsed = False

    def _name(self, table: str) -> str:
        return f"{self._server.prefix}.{table}" if self._server.prefix else table

    def _at(self, name: str, **more: Any) -> dict[str, Any]:
        table, colon, shard = name.partition(":")
        return {"table": self._name(table), "shard": colon + shard, "model": self._model(table), **more}

    def _model(self, table: str) -> str:
        return self._name(read_model_of_table(table))

    def stored_as(self, shape: Shape, number: int) -> str:
        """The label (`HotBalance_1`), or the type (`PAYMENT_1`), of a generation's rows. No two names give the same."""
        prefix, name = self._server.prefix, shape.definition.name
        if shape.is_relationship:
            return f"{prefix}_{name}_{number}".lstrip("_").upper()
        return prefix.capitalize() + re.sub(r"(?:^|_)([a-z])", lambda found: found[1].upper(), name) + f"_{number}"

    async def standing(self, name: str) -> Standing | None:
        """How far a checkpoint is."""
        at = self._at(name)
        found = await self._server.run(_STANDING, at)
        if not found:

            async def certainly(run: Run) -> list[dict[str, Any]]:
                # While tables take each other's place, one of them may be out of sight.
                await run(_LOCK_MODEL, at)
                return await run(_STANDING, at)

            found = await self._server.attempt(certainly)
        return _standing(found[0]["standing"]) if found else None

    async def hold(self, run: Run, table: str) -> Held | None:
        """Locks all checkpoints of a table until the transaction ends: what its rows are now, they are until then."""
        at = self._at(table)
        locked = await run(_LOCK_ALL, at)
        if not locked:
            await run(_LOCK_MODEL, at)
            locked = await run(_LOCK_ALL, at)
            if not locked:
                return None
        found = await run(_STANDINGS, at)
        if not found or found[0]["stored_as"] != locked[0]["stored_as"]:
            raise Clashed("the table was put in another place")
        return Held(found[0]["stored_as"], {each["shard"]: _standing(each["standing"]) for each in found})

    async def move(self, run: Run, name: str, before: int, epoch: int, after: int, append_id: str) -> str | None:
        """Moves a checkpoint, if it stands there and belongs to that epoch, and says where the rows are."""
        at = self._at(name, before=before, epoch=epoch, after=after, append_id=append_id)
        locked = await run(_LOCK_ONE, at)
        moved = await run(_MOVE, at) if locked else []
        if moved and moved[0] != locked[0]:
            raise Clashed("the table was put in another place")
        return moved[0]["stored_as"] if moved else None

    async def fence(self, name: str, epoch: int) -> Standing | None:
        """See `RowStore.fence`."""
        at = self._at(name, epoch=epoch)

        async def work(run: Run) -> Standing | None:
            locked = await run(_LOCK_ONE, at)
            if not locked:
                await run(_LOCK_MODEL, at)
                locked = await run(_LOCK_ONE, at)
            found = await run(_FENCE, at) if locked else []
            if found and found[0]["stored_as"] != locked[0]["stored_as"]:
                raise Clashed("the table was put in another place")
            return _standing(found[0]["standing"]) if found else None

        return await self._server.attempt(work)

    async def create(self, shape: Shape, table: str, standings: Mapping[str, Standing]) -> None:
        """See `RowStore.create`."""
        await self._ensure(_OWN)
        while not await self._created(shape, table, standings):
            # Whoever clears away has taken what was begun for what was left: it gets another number.
            continue
        await self.clear_away(table)
        if not self._rehearsed:
            await self._server.attempt(self._rehearse)
            self._rehearsed = True

    async def _rehearse(self, run: Run) -> None:
        """Runs what a switch runs on a table that there cannot be: the server plans it now, not while readers wait."""
        nowhere = self._at("", stored_as="")
        for statement in (_LOCK_MODEL, _LOCK_ALL, _STANDINGS, _NAME, _RETIRE, _UNNAME):
            await run(statement, nowhere)

    async def _created(self, shape: Shape, table: str, standings: Mapping[str, Standing]) -> bool:
        stored_as = await self._server.attempt(lambda run: self._begun(run, shape, table))
        await self._ensure(_indexes(shape, stored_as))
        faults.at("neo4j.generation_begun")
        at = self._at(table, stored_as=stored_as)
        checkpoints = [_checkpoint(stored_as, name, each) for name, each in standings.items()]

        async def work(run: Run) -> bool:
            await run(_LOCK_MODEL, at)
            if not await run(_CHOSEN, at):
                return False
            await self.hold(run, table)
            await run(_RETIRE, at)
            await run(_MADE, {**at, "checkpoints": checkpoints})
            return True

        return await self._server.attempt(work)

    async def _ensure(self, wanted: Sequence[_Index]) -> None:
        there = {each["name"]: each for each in await self._server.run(_INDEXES)}
        for index in wanted:
            found = there.get(index.name)
            if found is None:
                # A transaction of its own, which may be run twice.
                await self._server.run(index.statement)
            elif (found["labels"], found["properties"]) != ([index.label], index.properties):
                raise ConfigurationError(
                    f"{self._server.name} has a constraint or index {index.name!r} that is not Refold's; drop it, or "
                    "say another ?prefix= in the URL of the sink"
                )

    async def _begun(self, run: Run, shape: Shape, table: str) -> str:
        """Notes a generation with a number of its own, as one to be cleared away until it is used."""
        model = self._model(table)
        number = (await run(_NEXT, {"model": model}))[0]["number"]
        stored_as = self.stored_as(shape, number)
        pattern = shape.pattern(stored_as)
        taken = await run(f"MATCH {pattern} RETURN 1 LIMIT 1", {})
        taken += await run("MATCH (g:RefoldGeneration {stored_as: $stored_as}) RETURN 1", {"stored_as": stored_as})
        if taken:
            raise self._not_ours(f"{'relationships of type' if shape.ends else 'nodes with label'} {stored_as!r}")
        for _, label in shape.ends:
            ours = await run("MATCH (n:RefoldNode {label: $label}) RETURN 1", {"label": label})
            if not ours and await run(f"MATCH (n:{quoted(label)}) RETURN 1 LIMIT 1", {}):
                raise self._not_ours(f"nodes with label {label!r}")
            await run("MERGE (:RefoldNode {label: $label})", {"label": label})
        await run(_BEGUN, {"stored_as": stored_as, "model": model, "relationships": shape.is_relationship})
        return stored_as

    def _not_ours(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._server.name} has {what} that are not Refold's, and they were left as they are; "
            "say another ?prefix= in the URL of the sink"
        )

    async def drop(self, table: str) -> None:
        """See `RowStore.drop`."""
        at = self._at(table)

        async def work(run: Run) -> None:
            await run(_LOCK_MODEL, at)
            await self.hold(run, table)
            await run(_RETIRE, at)
            await run(_UNNAME, at)

        await self._server.attempt(work)
        await self.clear_away(table)

    async def switch(self, table: str, place: str, kept: str | None) -> bool:
        """See `RowStore.switch`: one property of one node is what readers see."""

        async def work(run: Run) -> bool:
            await run(_LOCK_MODEL, self._at(place))
            new, old = await self.hold(run, table), await self.hold(run, place)
            if new is None:
                return False
            if kept is None:
                await run(_RETIRE, self._at(place))
            else:
                await run(_RETIRE, self._at(kept))
                if old is None:
                    await run(_UNNAME, self._at(kept))
                else:
                    await run(_NAME, self._at(kept, stored_as=old.stored_as))
            await run(_NAME, self._at(place, stored_as=new.stored_as))
            await run(_UNNAME, self._at(table))
            faults.at("neo4j.switch_before_commit")
            return True

        switched = await self._server.attempt(work)
        await self.clear_away(place)
        return switched

    async def exchange(self, first: str, second: str) -> bool:
        """See `RowStore.exchange`."""

        async def work(run: Run) -> bool:
            await run(_LOCK_MODEL, self._at(first))
            one, other = await self.hold(run, first), await self.hold(run, second)
            if one is None or other is None:
                return False
            await run(_NAME, self._at(first, stored_as=other.stored_as))
            await run(_NAME, self._at(second, stored_as=one.stored_as))
            return True

        return await self._server.attempt(work)

    async def clear_away(self, table: str) -> None:
        """Removes, part by part, what no table points to any more, whoever left it there."""
        for each in await self._server.run(_DROPPED, {"model": self._model(table)}):
            stored_as = each["stored_as"]
            part = _part_of(stored_as, each["relationships"])
            while await self._server.attempt(lambda run, part=part, at=each: self._clear(run, part, at)):  # type: ignore[misc]
                faults.at("neo4j.part_cleared")
            await self._server.run(f"DROP CONSTRAINT {quoted('refold_' + stored_as)} IF EXISTS")
            await self._server.attempt(lambda run, at=each: run(_CLEARED, at))  # type: ignore[misc]

    async def _clear(self, run: Run, part: str, at: dict[str, Any]) -> bool:
        """Removes a part of the rows of a dropped generation. False: nothing is left of it."""
        # Two that clear at once would only be in one another's way.
        if not await run(_LOCK_DROPPED, at):
            return False
        return bool((await run(part, {"limit": _CLEARED_AT_ONCE}))[0]["gone"])


def _part_of(stored_as: str, relationships: bool) -> str:
    if not relationships:
        return f"MATCH (n:{quoted(stored_as)}) WITH n LIMIT $limit DETACH DELETE n RETURN count(*) AS gone"
    return f"""MATCH (a)-[r:{quoted(stored_as)}]->(b) WITH a, r, b LIMIT $limit DELETE r
WITH collect(a) + collect(b) AS ends, count(*) AS gone CALL (ends) {{ {WITHOUT_RELATIONSHIPS} }} RETURN gone"""


class _Index(msgspec.Struct, frozen=True):
    """An index that is needed, as a constraint or not; `pattern` is what has the label, as `n`."""

    name: str
    pattern: str
    label: str
    properties: list[str]
    unique: bool = True

    @property
    def statement(self) -> str:
        properties = ", ".join(f"n.{quoted(each)}" for each in self.properties)
        name = f"{quoted(self.name)} IF NOT EXISTS FOR {self.pattern}"
        if self.unique:
            return f"CREATE CONSTRAINT {name} REQUIRE ({properties}) IS UNIQUE"
        return f"CREATE INDEX {name} ON ({properties})"


_OWN = [
    *(_Index(f"refold_{what.lower()}", f"(n:Refold{what})", f"Refold{what}", [key]) for what, key in _KEYS.items()),
    _Index("refold_checkpoints", "(n:RefoldCheckpoint)", "RefoldCheckpoint", ["stored_as"], unique=False),
]


def _indexes(shape: Shape, stored_as: str) -> list[_Index]:
    """One value of the key is one row, and found at once; so are the nodes between which rows are."""
    ends = {label: _Index(f"refold_node_{label}", f"(n:{quoted(label)})", label, ["id"]) for _, label in shape.ends}
    pattern = f"()-[n:{quoted(stored_as)}]-()" if shape.is_relationship else f"(n:{quoted(stored_as)})"
    return [*ends.values(), _Index(f"refold_{stored_as}", pattern, stored_as, shape.key_names)]


def _checkpoint(stored_as: str, name: str, standing: Standing) -> dict[str, Any]:
    _, colon, shard = name.partition(":")
    found = {"name": stored_as + colon + shard, "stored_as": stored_as, "shard": colon + shard}
    return found | msgspec.structs.asdict(standing)


def _standing(properties: Mapping[str, Any]) -> Standing:
    return Standing(**{field: properties[field] for field in Standing.__struct_fields__})
