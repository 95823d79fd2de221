"""Three ways lead through the server's functions: one event, all together, one by one. They promise the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

from refold.errors import ConditionFailed, Conflict
from refold.messages.ids import new_id
from refold.store.append import ANY, EXISTS, Append, AppendCondition, AppendResult, Matching, StreamAppend
from refold.store.postgres import wire
from refold.store.postgres.batch import AppendStatements, Batch, Repeated
from refold.store.postgres.connection import Session
from refold.store.postgres.store import PostgresStore
from tests.store.postgres.events import append, event

_STREAMS = ["a", "b", "c-1", "c-2"]
_TAGS = ["x", "y", 'q"uo\\te', "with space", "ümläut", "{},"]


def any_append(random: random.Random, known: list[Append]) -> Append:
    if known and random.random() < 0.05:
        return random.choice(known)
    streams = random.sample(_STREAMS, k=random.choice([1, 1, 1, 2]))
    parts = tuple(
        StreamAppend(
            stream,
            random.choice([ANY, ANY, EXISTS, 0, 1, 2, 3, 5]),
            tuple(
                event(
                    random.randrange(9),
                    type=random.choice(["T", "U"]),
                    tags=random.sample(_TAGS, random.choice([0, 0, 2])),
                )
                for _ in range(random.choice([1, 1, 3]))
            ),
        )
        for stream in streams
    )
    condition = None
    if random.random() < 0.2:
        items = tuple(
            Matching(
                tuple(random.sample(["T", "U", "V"], random.choice([0, 1]))),
                tuple(random.sample(_TAGS, random.choice([0, 1, 2]))),
            )
            for _ in range(random.choice([1, 2]))
        )
        condition = AppendCondition(items, random.randrange(12))
    return Append(parts, new_id(), condition)


def in_words(verdict: object) -> object:
    if isinstance(verdict, AppendResult):
        return ("accepted", verdict.first, verdict.last, verdict.versions)
    if isinstance(verdict, ConditionFailed):
        return ("condition", verdict.found)
    if isinstance(verdict, Conflict):
        return ("conflict", verdict.stream, verdict.expected, verdict.actual)
    assert isinstance(verdict, Repeated)
    return "repeated"


class Ways:
    """Tries appends and takes them back."""

    def __init__(self, session: Session, store: PostgresStore) -> None:
        self._session = session
        self._statements = AppendStatements(store._address)
        self._events = f"select * from {store.schema}.log order by position"
        self._tags = f"select * from {store.schema}.event_tags order by tag, position"

    async def rows(self) -> list[Any]:
        found = []
        for sql in (self._events, self._tags):
            result = await self._session.query(sql.encode())
            columns = [result.fname(column) for column in range(result.nfields)]
            found += [
                [result.get_value(row, column) for column in range(result.nfields) if columns[column] != b"recorded_at"]
                for row in range(result.ntuples)
            ]
        return found

    async def together(self, appends: list[Append]) -> list[object]:
        batch = Batch(appends)
        return await self._run(batch, self._statements.many, [*batch._arrays()[:-1], wire.boolean(True)])

    async def one_after_the_other(self, appends: list[Append]) -> list[object]:
        batch = Batch(appends)
        return await self._run(batch, self._statements.many, [*batch._arrays()[:-1], wire.boolean(False)])

    async def one_call_each(self, appends: list[Append]) -> list[object]:
        verdicts: list[object] = []
        for each in appends:
            batch = Batch([each])
            verdicts += await self._run(batch, *batch.statement(self._statements))
        return verdicts

    async def _run(self, batch: Batch, sql: bytes, parameters: list[wire.Parameter]) -> list[object]:
        return [in_words(verdict) for verdict in batch.verdicts(await self._session.query(sql, parameters))]


@pytest.mark.parametrize("seed", range(8))
async def test_all_ways_give_the_same_verdicts_and_the_same_log(store: PostgresStore, seed: int):
    chance = random.Random(seed)
    known: list[Append] = [append("a"), append("c-1", 0, event(tags=["x", "y"]), event(type="U", tags=["x"]))]
    for each in known:
        await store.append(each)
    session = await Session.connect(store._address, "test")
    ways = Ways(session, store)
    kept = 0
    for _ in range(25):
        appends = {each.id: each for each in [any_append(chance, known) for _ in range(chance.choice([1, 2, 6]))]}
        batch = list(appends.values())
        outcomes = []
        for way in (ways.together, ways.one_after_the_other, ways.one_call_each):
            await session.query(b"begin")
            verdicts = await way(batch)
            outcomes.append((verdicts, await ways.rows()))
            keep = way == ways.one_call_each and chance.random() < 0.4
            await session.query(b"commit" if keep else b"rollback")
            if keep:
                kept += 1
                known += [each for each, verdict in zip(batch, verdicts, strict=True) if verdict != "repeated"]
                known = [each for each in known if (await store.find_append(each.id.bytes)) is not None]
        assert outcomes[0] == outcomes[1] == outcomes[2]
    session.drop("done")
    assert kept > 0
