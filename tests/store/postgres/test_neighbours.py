"""What cannot be stored fails alone: the appends beside it in the batch are stored."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest

from refold.errors import AlreadyAppended, Conflict, InvalidAppend, RefoldError, StoreError, StoreReadOnly
from refold.messages.ids import new_id
from refold.messages.recorded import NewEvent, StoredEvent
from refold.store.append import ANY, Append, AppendResult, StreamAppend
from refold.store.postgres.store import PostgresStore
from tests.store.postgres.events import append, assert_sound, event, run_sql, whole_log

_REFUSE = (
    "create function public.refuse() returns trigger language plpgsql as $$ begin "
    "if new.type = 'Refused' then raise exception 'not here' using errcode = 'check_violation'; end if; "
    "return null; end $$"
)


async def together(store: PostgresStore, *appends: Append) -> list[Any]:
    return list(await asyncio.gather(*(store.append(each) for each in appends), return_exceptions=True))


@pytest.mark.parametrize("callers", [1, 2, 9, 70])
@pytest.mark.parametrize("moment", ["insert", "commit"])
async def test_an_append_that_the_server_refuses_fails_alone(
    store: PostgresStore, fresh_database: str, callers: int, moment: str
):
    constraint, deferred = ("constraint", "deferrable initially deferred") if moment == "commit" else ("", "")
    run_sql(
        fresh_database,
        _REFUSE,
        f"create {constraint} trigger refuse after insert on refold.events {deferred} for each row "
        "execute function public.refuse()",
    )
    appends = [append(f"a-{number}", 0, event(number)) for number in range(callers)]
    bad = callers // 2
    appends[bad] = append("bad", 0, event(), event(type="Refused"))
    outcomes = await together(store, *appends)
    problem = outcomes.pop(bad)
    assert isinstance(problem, StoreError)
    assert "not here" in str(problem)
    assert all(isinstance(each, AppendResult) for each in outcomes)
    log = await whole_log(store)
    assert_sound(log)
    assert len(log) == callers - 1
    run_sql(fresh_database, "drop trigger refuse on refold.events")
    await store.append(append("bad", 0))


async def test_a_number_that_no_column_can_hold_fails_alone(store: PostgresStore):
    huge = append("b", 0, NewEvent(type="Counted", payload=b"{}", schema_version=2**40))
    outcomes = await together(store, append("a", 0), huge, append("c", 0))
    assert [type(each) for each in outcomes] == [AppendResult, InvalidAppend, AppendResult]
    assert [each.stream for each in await whole_log(store)] == ["a", "c"]
    with pytest.raises(InvalidAppend):
        await store.append(huge)


async def test_without_the_right_to_append_everybody_is_told_at_once(store: PostgresStore, fresh_database: str):
    run_sql(
        fresh_database,
        "alter database " + fresh_database.rpartition("/")[2] + " set default_transaction_read_only to on",
    )
    writer = store._writer._session
    assert writer is not None
    writer.drop("so that the setting holds")
    outcomes = await together(store, *(append(f"a-{number}") for number in range(20)))
    assert {type(each) for each in outcomes} == {StoreReadOnly}


async def test_appends_of_one_batch_are_decided_one_after_the_other(store: PostgresStore):
    """Many are decided all at once when all fit, and one by one when one does not; the outcome is the same."""
    await store.append(append("hot"))
    outcomes = await together(
        store,
        append("hot", 1),
        append("hot", 2, event(), event()),
        append("hot", 3),
        append("hot", 4),
        append("new", 0),
        append("new", 0),
        Append((StreamAppend("new", 1, (event(),)), StreamAppend("hot", 5, (event(),))), new_id()),
        append("new", 2),
    )
    assert [each.actual if isinstance(each, Conflict) else each.versions for each in outcomes] == [
        {"hot": 2},
        {"hot": 4},
        4,
        {"hot": 5},
        {"new": 1},
        1,
        {"new": 2, "hot": 6},
        {"new": 3},
    ]
    assert_sound(await whole_log(store))


async def test_an_id_that_the_log_has_gives_its_first_result_among_others(store: PostgresStore):
    first = append("a", 0, event(), event())
    result = await store.append(first)
    outcomes = await together(store, append("b"), first, append("c"), append("a", 2), append("d"))
    assert [each.first for each in outcomes] == [3, 1, 4, 5, 6]
    assert outcomes[1] == result
    assert [each.repeated for each in outcomes] == [False, True, False, False, False]
    assert len(await whole_log(store)) == 6


@pytest.mark.parametrize("others", [0, 5])
async def test_one_id_twice_in_one_transaction_takes_it_back(store: PostgresStore, others: int):
    twice = append("a")
    with pytest.raises(AlreadyAppended):
        async with store.transaction() as transaction:
            for each in (twice, *(append(f"b-{number}") for number in range(others)), twice):
                transaction.append(each)
    assert await whole_log(store) == []


class Ledger:
    """An inline projection: a row for each event, in the appending transaction; it refuses events of one type."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    async def __call__(self, connection: psycopg.AsyncConnection[Any], events: list[StoredEvent]) -> None:
        self.seen.append([each.position for each in events])
        for each in events:
            if each.type == "Refused":
                raise ValueError("the ledger refuses it")
            await connection.execute("insert into ledger values (%s, %s)", (each.position, each.payload.decode()))


@pytest.fixture
def ledger(store: PostgresStore, fresh_database: str) -> Ledger:
    run_sql(fresh_database, "create table ledger (position bigint, payload text)")
    hook = Ledger()
    store.inline = hook
    return hook


async def test_an_inline_projection_changes_with_the_events(store: PostgresStore, fresh_database: str, ledger: Ledger):
    await together(store, *(append(f"a-{number}", 0, event(number)) for number in range(30)))
    with pytest.raises(Conflict):
        await store.append(append("a-1", 0))
    async with store.transaction() as transaction:
        transaction.append(append("b", 0, event(30), event(31)))
    log = await whole_log(store)
    assert_sound(log)
    rows = run_sql(fresh_database, "select * from ledger order by position")
    assert rows == [(each.position, each.payload.decode()) for each in log]
    store.inline = None
    await together(store, *(append(f"c-{number}") for number in range(40)))
    assert len(await whole_log(store)) == 72
    assert len(run_sql(fresh_database, "select * from ledger")) == 32


async def test_an_inline_projection_that_fails_fails_its_own_append_only(
    store: PostgresStore, fresh_database: str, ledger: Ledger
):
    outcomes = await together(
        store, append("a", 0), append("b", 0, event(type="Refused")), append("a", 1), append("c", ANY)
    )
    assert [type(each) for each in outcomes] == [AppendResult, StoreError, AppendResult, AppendResult]
    assert "the ledger refuses it" in str(outcomes[1])
    assert [each.stream for each in await whole_log(store)] == ["a", "a", "c"]
    assert run_sql(fresh_database, "select position from ledger order by 1") == [(1,), (2,), (3,)]
    with pytest.raises(ValueError, match="the ledger refuses it"):
        async with store.transaction() as transaction:
            transaction.append(append("b", 0, event(type="Refused")))
    assert len(await whole_log(store)) == 3


async def test_an_append_that_is_repeated_is_not_projected_again(
    store: PostgresStore, fresh_database: str, ledger: Ledger
):
    first = append("a")
    await store.append(first)
    assert (await store.append(first)).repeated
    assert run_sql(fresh_database, "select count(*) from ledger") == [(1,)]


async def test_the_error_of_a_caller_does_not_reach_others(store: PostgresStore):
    """A caller that is cancelled after its append was sent leaves the batch, and the connection, as they are."""
    tasks = [asyncio.create_task(store.append(append(f"a-{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[3].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[3], asyncio.CancelledError)
    assert not [each for each in outcomes if isinstance(each, RefoldError)]
    assert_sound(await whole_log(store))


async def test_a_second_caller_of_an_id_survives_that_the_first_is_cancelled(store: PostgresStore):
    id = UUID("01a2093b-259e-768d-b2cc-233bfabea743")
    blocker = [asyncio.create_task(store.append(append(f"x-{number}"))) for number in range(3)]
    first = asyncio.create_task(store.append(append("a", 0, id=id)))
    second = asyncio.create_task(store.append(append("a", 0, id=id)))
    await asyncio.sleep(0)
    first.cancel()
    result = await second
    await asyncio.gather(*blocker)
    assert result.versions == {"a": 1}
    assert [each.stream for each in await whole_log(store)].count("a") == 1
