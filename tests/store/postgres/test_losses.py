"""A connection or a server that goes away: what became of the batch is found out before anybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest

from refold import faults
from refold.errors import Conflict, OutcomeUnknown, RefoldError, StoreUnavailable
from refold.store.append import AppendResult
from refold.store.postgres import open_postgres
from refold.store.postgres.store import PostgresStore
from tests.servers import PostgresServer
from tests.store.postgres.events import append, assert_sound, event, run_sql, whole_log

POINTS = ["postgres.append.before_send", "postgres.append.after_send", "postgres.append.after_result"]


class Cut(Exception):
    """What a fault point raises."""


def once(point: str, action: Callable[[], object]) -> list[str]:
    """Does something at the first pass of a fault point; gives the list of passes."""
    passed: list[str] = []

    def hook(name: str) -> None:
        if name == point and point not in passed:
            passed.append(name)
            action()

    faults.install(hook)
    return passed


def end_writers(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
            "where application_name like 'refold writer%%' and datname = current_database()"
        )


async def until(reached: Callable[[], bool]) -> None:
    """Waits for something that only the server knows."""
    async with asyncio.timeout(20):
        while not reached():
            await asyncio.sleep(0.01)


def raise_cut() -> None:
    raise Cut


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("how", ["the server ends the session", "an exception"])
@pytest.mark.parametrize("callers", [1, 5, 60])
async def test_every_append_is_stored_once_when_the_connection_is_lost(
    store: PostgresStore, fresh_database: str, point: str, how: str, callers: int
):
    await store.append(append("first"))
    passed = once(point, (lambda: end_writers(fresh_database)) if how.startswith("the server") else raise_cut)
    appends = [append(f"a-{number % 7}", number // 7, event(number)) for number in range(callers)]
    results = await asyncio.gather(*(store.append(each) for each in appends))

    assert passed == [point]
    log = await whole_log(store)
    assert_sound(log)
    assert len(log) == callers + 1
    for each, result in zip(appends, results, strict=True):
        assert [stored.position for stored in log if stored.append_id == each.id.bytes] == [result.first]


async def test_a_conflict_is_a_conflict_after_the_connection_was_lost(store: PostgresStore, fresh_database: str):
    await store.append(append("a"))
    once("postgres.append.after_send", lambda: end_writers(fresh_database))
    outcomes = await asyncio.gather(store.append(append("a", 0)), store.append(append("a", 1)), return_exceptions=True)
    assert isinstance(outcomes[0], Conflict)
    assert isinstance(outcomes[1], AppendResult)
    assert len(await whole_log(store)) == 2


@pytest.fixture
async def impatient(own_postgres: PostgresServer) -> AsyncIterator[PostgresStore]:
    store = await open_postgres(own_postgres.create_database("bank"), patience=0.3)
    yield store
    await store.close()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("callers", [1, 3, 40])
async def test_what_was_stored_is_not_told_to_be_refused_when_it_is_sent_again(
    fresh_database: str, point: str, callers: int
):
    """The first answer is lost, and by the second time somebody else holds the log's lock."""
    store = await open_postgres(f"{fresh_database}?options=-c%20lock_timeout%3D200ms")
    with psycopg.connect(fresh_database, autocommit=True) as holder:

        def refuse() -> None:
            holder.execute("select pg_advisory_lock(%s)", (store._address.lock,))
            raise Cut

        await store.append(append("first"))
        passed = once(point, refuse)
        appends = [append(f"a-{number % 7}", number // 7, event(number)) for number in range(callers)]
        outcomes = await asyncio.gather(*(store.append(each) for each in appends), return_exceptions=True)

    assert passed == [point]
    log = await whole_log(store)
    assert_sound(log)
    for each, outcome in zip(appends, outcomes, strict=True):
        there = [stored.position for stored in log if stored.append_id == each.id.bytes]
        if isinstance(outcome, AppendResult):
            assert there == [outcome.first]
        else:
            assert isinstance(outcome, StoreUnavailable)
            assert "nothing was stored" in str(outcome)
            assert there == []
    if point.endswith("after_result"):
        assert any(isinstance(outcome, AppendResult) for outcome in outcomes)
    await store.close()


async def test_a_server_that_stays_away_leaves_the_outcome_unknown_and_refuses_the_rest(
    impatient: PostgresStore, own_postgres: PostgresServer
):
    once("postgres.append.after_send", lambda: own_postgres.stop("immediate"))
    sent = append("a")
    holder = psycopg.connect(impatient._address.name.replace("@", f":{own_postgres.password}@"))
    holder.execute("select pg_advisory_xact_lock(%s)", (impatient._address.lock,))
    with pytest.raises(OutcomeUnknown) as unknown:
        await impatient.append(sent)
    holder.close()
    assert unknown.value.append_id == sent.id
    with pytest.raises(StoreUnavailable):
        await impatient.append(append("b"))
    with pytest.raises(StoreUnavailable):
        await impatient.read_log()

    own_postgres.start()
    settled = await impatient.append(sent)
    assert [stored.append_id for stored in await whole_log(impatient)] == [sent.id.bytes]
    assert settled.first == 1


async def test_a_server_that_is_restarted_while_nothing_happens_is_found_again(
    impatient: PostgresStore, own_postgres: PostgresServer
):
    reader = await impatient.open_reader()
    await impatient.append(append("a"))
    assert (await reader.read(0, 10)).scanned_to == 1
    await impatient.load_snapshot("a")
    own_postgres.restart("fast")
    assert (await impatient.append(append("a", 1))).first == 2
    assert (await impatient.head()).position == 2
    with pytest.raises(StoreUnavailable):
        await reader.read(1, 10)
    assert (await reader.read(1, 10)).scanned_to == 2
    async with impatient.transaction() as transaction:
        transaction.append(append("a", 2))
    await reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["immediate", "kill"])
async def test_a_crash_under_load_loses_and_doubles_nothing(own_postgres: PostgresServer, mode: str):
    store = await open_postgres(own_postgres.create_database("bank"), patience=30)
    acknowledged: dict[bytes, AppendResult] = {}
    failed: set[bytes] = set()
    crashed = asyncio.Event()
    over = asyncio.Event()

    async def caller(number: int) -> None:
        version = 0
        while not over.is_set():
            each = append(f"a-{number}", version, event(version), event(version))
            try:
                acknowledged[each.id.bytes] = await store.append(each)
                version += 2
            except (OutcomeUnknown, Conflict):
                raise
            except RefoldError:
                failed.add(each.id.bytes)

    def crash() -> None:
        if mode == "kill":
            own_postgres.kill()
        else:
            own_postgres.stop("immediate")
        own_postgres.start()

    callers = [asyncio.create_task(caller(number)) for number in range(40)]
    for _ in range(2):
        target = len(acknowledged) + 400
        while len(acknowledged) < target:
            await store.wait_beyond((await store.head()).position, 0.05)
        await asyncio.to_thread(crash)
        crashed.set()
    target = len(acknowledged) + 400
    while len(acknowledged) < target:
        await store.wait_beyond((await store.head()).position, 0.05)
    over.set()
    await asyncio.gather(*callers)

    log = await whole_log(store)
    assert_sound(log)
    stored: dict[bytes, list[int]] = {}
    for each in log:
        stored.setdefault(each.append_id, []).append(each.position)
    assert stored == {key: [result.first, result.last] for key, result in acknowledged.items()}
    assert not failed & stored.keys()
    await store.close()


async def test_a_lost_statement_that_still_waits_is_ended_before_it_is_sent_again(
    store: PostgresStore, fresh_database: str
):
    """Otherwise it could store later what its caller was told had failed."""
    writer = store._writer._session
    assert writer is not None
    with psycopg.connect(fresh_database) as holder:
        holder.execute("select pg_advisory_xact_lock(%s)", (store._address.lock,))
        waiting = asyncio.create_task(store.append(append("a")))
        await until(
            lambda: bool(run_sql(fresh_database, "select 1 from pg_locks where locktype = 'advisory' and not granted"))
        )
        writer.drop("the network broke")  # the server does not know
        sessions = f"select count(*) from pg_stat_activity where application_name = '{writer.application_name}'"
        await until(lambda: run_sql(fresh_database, sessions) == [(0,)])
        assert not waiting.done()
    assert (await waiting).first == 1
    assert len(await whole_log(store)) == 1


async def test_a_log_that_stays_locked_is_an_error_and_not_a_wait_for_ever(fresh_database: str):
    store = await open_postgres(f"{fresh_database}?options=-c%20lock_timeout%3D100ms")
    with psycopg.connect(fresh_database) as holder:
        holder.execute("select pg_advisory_xact_lock(%s)", (store._address.lock,))
        with pytest.raises(StoreUnavailable, match="locked for too long"):
            await store.append(append("a"))
    assert (await store.append(append("a", 0))).first == 1
    await store.close()


async def test_a_transaction_that_falls_asleep_with_the_lock_is_ended(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("refold.store.postgres.transaction._LOCKED_FOR", "100ms")
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def fall_asleep(connection: object, events: object) -> None:
        asleep.set()
        await wake.wait()

    async def stuck() -> None:
        store._transactions.inline = fall_asleep
        async with store.transaction() as transaction:
            transaction.append(append("stuck"))

    task = asyncio.create_task(stuck())
    await asleep.wait()
    result = await store.append(append("a"))
    wake.set()
    with pytest.raises(StoreUnavailable):
        await task
    assert result.first == 1
    assert [each.stream for each in await whole_log(store)] == ["a"]


@pytest.mark.parametrize("staged", [True, False])
async def test_a_transaction_that_is_lost_before_its_commit_stores_nothing(
    store: PostgresStore, fresh_database: str, staged: bool
):
    run_sql(fresh_database, "create table mine (a int)")

    def end_transactions() -> None:
        run_sql(
            fresh_database,
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
            "where application_name like 'refold transactions%' and datname = current_database()",
        )

    once("postgres.transaction.before_commit", end_transactions)
    with pytest.raises(StoreUnavailable, match="nothing was stored"):
        async with store.transaction() as transaction:
            await transaction.execute("insert into mine values (1)")
            if staged:
                transaction.append(append("a"))
    assert await whole_log(store) == []
    assert run_sql(fresh_database, "select * from mine") == []


async def test_a_transaction_whose_commit_was_not_answered_is_settled(store: PostgresStore, fresh_database: str):
    run_sql(fresh_database, "create table mine (a int)")
    once("postgres.transaction.after_commit", raise_cut)
    async with store.transaction() as transaction:
        await transaction.execute("insert into mine values (1)")
        transaction.append(append("a"))
    assert len(await whole_log(store)) == 1
    assert run_sql(fresh_database, "select * from mine") == [(1,)]


async def test_a_transaction_on_a_session_that_died_unseen_begins_on_another(store: PostgresStore, fresh_database: str):
    async with store.transaction() as transaction:
        await transaction.execute("select 1")
    run_sql(
        fresh_database,
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
        "where application_name like 'refold transactions%' and datname = current_database()",
    )
    async with store.transaction() as transaction:
        transaction.append(append("a"))
    assert len(await whole_log(store)) == 1


async def test_a_batch_that_brings_the_connection_down_each_time_is_given_up(fresh_database: str):
    store = await open_postgres(fresh_database, patience=0.3)

    def hook(name: str) -> None:
        if name == "postgres.append.after_result":
            raise Cut

    faults.install(hook)
    with pytest.raises(OutcomeUnknown):
        await store.append(append("a"))
    faults.install(None)
    assert (await store.append(append("b"))).first == 2
    await store.close()
