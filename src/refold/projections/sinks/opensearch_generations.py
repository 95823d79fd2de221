"""The generations of tables in OpenSearch: an index each, with its checkpoints; a table is an alias that leads to
one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from refold.errors import ConfigurationError, StoreUnavailable
from refold.projections.row_store import Standing
from refold.projections.sink import read_model_of_table
from refold.projections.sinks.opensearch_documents import META, Mark, checkpoint_id, mark_of
from refold.projections.sinks.opensearch_search import Found, Snapshot
from refold.projections.sinks.opensearch_server import Server

__all__ = ["Generations", "Stands"]

_LEFT_BEHIND = 3_600_000
"""Milliseconds after which a generation that no alias leads to is one that a killed process has left."""
_ATTEMPTS = 10


class Stands(msgspec.Struct, frozen=True):
    """A checkpoint where it was found. `index` is the generation, `place` the alias by which it is written."""

    index: str
    id: str
    standing: Standing
    seq_no: int
    primary_term: int

    @property
    def place(self) -> str:
        """The alias by which only this generation is written."""
        return _place(self.index)


class _Document(msgspec.Struct, rename={"index": "_index", "seq_no": "_seq_no", "term": "_primary_term"}):
    index: str
    id: str = msgspec.field(name="_id", default="")
    seq_no: int = 0
    term: int = 0
    found: bool = False
    source: msgspec.Raw = msgspec.field(name="_source", default=msgspec.Raw(b"{}"))
    error: dict[str, Any] | None = None


class _Documents(msgspec.Struct):
    docs: list[_Document]


def _place(index: str) -> str:
    return f"{index}--rows"


class Generations:
    """Aliases, indices and checkpoints."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._prefix = f"{server.place.prefix}-" if server.place.prefix else ""
        self._checkpoints: dict[str, list[str]] = {}
        self._last_seen: dict[str, str] = {}

    def alias(self, table: str) -> str:
        """The name of a table there."""
        return f"{self._prefix}{table}"

    async def checkpoint(self, name: str) -> Stands | None:
        """A checkpoint as it is now, not as it was when the index was last refreshed."""
        table, separator, shard = name.partition(":")
        path = f"/{self.alias(table)}/_doc/{quote(checkpoint_id(separator + shard), safe='')}"
        found = await self._server.ask("GET", path, _Document)
        return None if found is None or not found.found else _stands(found)

    async def move(self, found: Stands, standing: Standing) -> bool:
        """Changes a checkpoint, unless somebody has (then it raises `Conflicted`). False: its generation is gone."""
        params = {"if_seq_no": found.seq_no, "if_primary_term": found.primary_term, "require_alias": "true"}
        path = f"/{found.place}/_doc/{quote(found.id, safe='')}"
        return await self._server.ask("PUT", path, dict[str, Any], _checkpoint(standing), params=params) is not None

    async def versions(self, place: str, ids: Sequence[str]) -> dict[str, tuple[Mark, int | None, int]]:
        """What documents say of themselves, and which change of them that is; None: there is none."""
        asked = {"docs": [{"_id": each, "_source": [META]} for each in ids]}
        answer = await self._server.ask("POST", f"/{place}/_mget", _Documents, asked)
        documents = [] if answer is None else answer.docs
        return {each.id: (mark_of(each.source), each.seq_no if each.found else None, each.term) for each in documents}

    def checkpoint_ids(self, table: str) -> list[str]:
        """The ids of all checkpoints of a table, as far as they are known."""
        return self._checkpoints.get(self._last_seen.get(table, ""), [checkpoint_id("")])

    async def look_up(self, table: str, ids: Sequence[str]) -> tuple[Stands | None, dict[str, Found]]:
        """How a table stands now (of shards the lowest), and its documents of these ids, none older than that."""
        while True:
            checkpoints = self.checkpoint_ids(table)
            # One shard answers in the order of the question, so the checkpoints are read first.
            body = {"ids": [*checkpoints, *ids]}
            answer = await self._server.ask("POST", f"/{self.alias(table)}/_mget", _Documents, body)
            if answer is None or self._absent(answer):
                return None, {}
            index = answer.docs[0].index
            self._last_seen[table] = index
            if checkpoints != await self._checkpoints_of(index):
                continue
            stands = [_stands(each) for each in answer.docs[: len(checkpoints)] if each.found]
            if not stands:
                return None, {}
            found = {each.id: Found(each.id, each.source, mark_of(each.source)) for each in answer.docs if each.found}
            return min(stands, key=lambda each: each.standing.position), found

    def _absent(self, answer: _Documents) -> bool:
        for each in answer.docs:
            if each.error is not None:
                if each.error.get("type") == "index_not_found_exception":
                    return True
                raise StoreUnavailable(f"{self._server.place.name} did not answer: {each.error.get('reason')}")
        return False

    async def _checkpoints_of(self, index: str) -> list[str]:
        if index not in self._checkpoints:
            answer = await self._server.ask("GET", f"/{index}/_mapping", dict[str, Any])
            suffixes = _ours(next(iter((answer or {}).values()), {}))
            # What is not ours has no checkpoint that would be found.
            self._checkpoints[index] = [checkpoint_id(each) for each in suffixes or [""]]
        return self._checkpoints[index]

    def lowest(self, snapshot: Snapshot) -> Standing | None:
        """How a table stood in what a search saw; None when that did not show all checkpoints."""
        known = self._checkpoints.get(snapshot.index)
        if known is None or any(each not in snapshot.named for each in known):
            return None
        return min((_standing(snapshot.named[each].mark) for each in known), key=lambda each: each.position)

    async def refresh(self, table: str) -> None:
        """Makes searches see all that was written."""
        await self._server.ask("POST", f"/{self.alias(table)}/_refresh", dict[str, Any])

    async def create(self, mapping: dict[str, Any], table: str, standings: Mapping[str, Standing]) -> None:
        """Makes a new generation, and lets the table's alias lead to it. Raises `ConfigurationError`."""
        await self._generation(table)
        index = f"{self.alias(read_model_of_table(table))}--{secrets.token_hex(6)}"
        suffixes = {name.removeprefix(table): standing for name, standing in standings.items()}
        body = {
            "settings": {"index": self._settings(built=table != read_model_of_table(table))},
            "mappings": {**mapping, "_meta": {"refold": {"checkpoints": list(suffixes)}}},
            "aliases": {_place(index): {}},
        }
        await self._server.ask("PUT", f"/{index}", dict[str, Any], body)
        for suffix, standing in suffixes.items():
            path = f"/{_place(index)}/_create/{quote(checkpoint_id(suffix), safe='')}"
            await self._server.ask("PUT", path, dict[str, Any], _checkpoint(standing), params={"require_alias": "true"})
        for _ in range(_ATTEMPTS):
            before = await self._generation(table)
            actions = [_points(index, self.alias(table))]
            if before is not None:
                actions.append({"remove_index": {"index": before}})
            if await self._change(actions):
                break
        else:
            raise StoreUnavailable(f"{self._server.place.name} is changed by somebody else all the time; try again")
        await self._clear(table, index)

    def _settings(self, *, built: bool) -> dict[str, Any]:
        """While it is built, nobody reads it, and what a crash loses is written again."""
        fixed = {"number_of_shards": 1, "gc_deletes": "1h"}
        if built:
            building = {"number_of_replicas": 0, "refresh_interval": "-1", "translog": {"durability": "async"}}
            return {**fixed, **building}
        return {**fixed, **self._live()}

    def _live(self) -> dict[str, Any]:
        replicas = self._server.place.replicas
        copies = {"number_of_replicas": int(replicas)} if replicas.isdecimal() else {"auto_expand_replicas": replicas}
        return {**copies, "refresh_interval": None, "translog": {"durability": "request"}}

    async def _generation(self, table: str) -> str | None:
        """The index that a table's alias leads to. Raises `ConfigurationError` when something else has that name."""
        alias = self.alias(table)
        found = await self._server.ask("GET", f"/{alias}", dict[str, Any])
        if not found:
            return None
        index, about = next(iter(found.items()))
        if len(found) > 1 or index == alias or _ours(about) is None:
            raise ConfigurationError(
                f"{self._server.place.name} has an index or alias {alias!r} that is not ours, and was left as it is; "
                "give it another name, or the URL a prefix (opensearch://host:9200/prefix)"
            )
        return index

    async def _change(self, actions: list[dict[str, Any]]) -> bool:
        """All in one step. False: something of it is not there any more."""
        return await self._server.ask("POST", "/_aliases", dict[str, Any], {"actions": actions}) is not None

    async def _clear(self, table: str, new: str) -> None:
        """Deletes generations that killed processes have left behind."""
        pattern = f"{self.alias(read_model_of_table(table))}--*"
        found = await self._server.ask("GET", f"/{pattern}", dict[str, Any]) or {}
        now = int(found.get(new, {}).get("settings", {}).get("index", {}).get("creation_date", 0))
        for index, about in found.items():
            age = now - int(about["settings"]["index"]["creation_date"])
            if set(about["aliases"]) <= {_place(index)} and _ours(about) is not None and age > _LEFT_BEHIND:
                await self._server.ask("DELETE", f"/{index}", dict[str, Any])

    async def drop(self, table: str) -> None:
        """Drops a table's generation, if it is there and ours."""
        try:
            index = await self._generation(table)
        except ConfigurationError:
            return
        if index is not None:
            await self._server.ask("DELETE", f"/{index}", dict[str, Any])

    async def switch(self, table: str, place: str, kept: str | None) -> bool:
        """Lets the alias `place` lead to the generation of `table`, and `kept` to what was there."""
        for _ in range(_ATTEMPTS):
            new, old = await self._generation(table), await self._generation(place)
            dropped = None if kept is None else await self._generation(kept)
            if new is None:
                return False
            await self._settle(new)
            actions = [_points(new, self.alias(table), remove=True), _points(new, self.alias(place))]
            if old is not None:
                if kept is None:
                    actions.append({"remove_index": {"index": old}})
                else:
                    actions += [_points(old, self.alias(place), remove=True), _points(old, self.alias(kept))]
            if dropped is not None:
                actions.append({"remove_index": {"index": dropped}})
            if await self._change(actions):
                return True
        raise StoreUnavailable(f"{self._server.place.name} is changed by somebody else all the time; try again")

    async def _settle(self, index: str) -> None:
        """Makes what was built fast as safe as what is read."""
        await self._server.ask("POST", f"/{index}/_flush", dict[str, Any])
        await self._server.ask("PUT", f"/{index}/_settings", dict[str, Any], {"index": self._live()})
        await self._server.ask("POST", f"/{index}/_refresh", dict[str, Any])

    async def exchange(self, first: str, second: str) -> bool:
        """Exchanges where two aliases lead. False: one is absent."""
        one, other = await self._generation(first), await self._generation(second)
        if one is None or other is None:
            return False
        actions = []
        for index, before, after in ((one, first, second), (other, second, first)):
            actions += [_points(index, self.alias(before), remove=True), _points(index, self.alias(after))]
        return await self._change(actions)

    async def sweep(self, found: Stands, before: int, most: int) -> int:
        """Removes what says that a row was deleted, when all checkpoints have passed it and it was before a time (in
        seconds since 1970), and gives how many there were, of `most` at once.
        """
        stands, _ = await self.look_up(found.place.removeprefix(self._prefix), [])
        if stands is None:
            return 0
        which = [
            {"term": {f"{META}.kind": "deleted"}},
            {"range": {f"{META}.at": {"lte": before}}},
            {"range": {f"{META}.position": {"lte": stands.standing.position}}},
        ]
        body = {"query": {"bool": {"filter": which}}, "size": most, "seq_no_primary_term": True, "_source": False}
        answer = await self._server.ask("POST", f"/{found.place}/_search", dict[str, Any], body)
        hits = [] if answer is None else answer["hits"]["hits"]
        lines = [
            msgspec.json.encode(
                {"delete": {"_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}}
            )
            for hit in hits
        ]
        if lines:
            # A row that has come back meanwhile is another document by its number, and stays.
            await self._server.ask("POST", f"/{found.place}/_bulk", dict[str, Any], b"\n".join([*lines, b""]))
        return len(lines)


def _points(index: str, alias: str, *, remove: bool = False) -> dict[str, Any]:
    return {"remove" if remove else "add": {"index": index, "alias": alias}}


def _ours(about: dict[str, Any]) -> list[str] | None:
    """The suffixes of an index's checkpoints; None for one that is not ours."""
    meta = about.get("mappings", {}).get("_meta", {}).get("refold")
    return None if not isinstance(meta, dict) else list(meta.get("checkpoints", [""]))


def _checkpoint(standing: Standing) -> dict[str, Any]:
    mark = Mark(
        kind="checkpoint",
        position=standing.position,
        append_id=standing.append_id,
        fingerprint=standing.fingerprint,
        epoch=standing.epoch,
    )
    return {META: mark}


def _standing(mark: Mark) -> Standing:
    return Standing(position=mark.position, append_id=mark.append_id, fingerprint=mark.fingerprint, epoch=mark.epoch)


def _stands(found: _Document) -> Stands:
    return Stands(found.index, found.id, _standing(mark_of(found.source)), found.seq_no, found.term)
