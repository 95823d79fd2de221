"""Callers who wait together are committed together, in order, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from refold.errors import Conflict, OutcomeUnknown, Overloaded, StoreLocked, StoreUnavailable
from refold.messages.ids import new_id
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, AppendResult, StreamAppend
from refold.store.group_commit import AGAIN, GroupCommit, Limits, Outcome


def append(stream: str = "a", size: int = 1) -> Append:
    return Append((StreamAppend(stream, ANY, tuple(NewEvent(type="T", payload=b"{}") for _ in range(size))),), new_id())


def accepted(each: Append, first: int) -> AppendResult:
    return AppendResult(each.id, first, first + each.size - 1, {each.streams[0].stream: 1}, 0)


class Database:
    """Commits a batch when it is told to."""

    def __init__(self) -> None:
        self.head = 0
        self.batches: list[list[Append]] = []
        self._gates: list[asyncio.Future[None]] = []

    def begin(self, appends: Sequence[Append], done: Callable[[Sequence[Outcome]], None]) -> bool:
        self.batches.append(list(appends))
        gate = asyncio.get_running_loop().create_future()
        gate.add_done_callback(lambda _: done(self.results(appends)))
        self._gates.append(gate)
        return True

    async def commit(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        self.batches.append(list(appends))
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate
        return self.results(appends)

    def results(self, appends: Sequence[Append]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for each in appends:
            outcomes.append(accepted(each, self.head + 1))
            self.head += each.size
        return outcomes

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]

    async def next(self) -> None:
        """Lets the oldest batch be committed, and everybody who wakes up have their turn."""
        self._gates.pop(0).set_result(None)
        await turns()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def start(group: GroupCommit, count: int) -> list[asyncio.Task[AppendResult]]:
    return [asyncio.create_task(group.append(append(f"a-{number}"))) for number in range(count)]


async def finish(group: GroupCommit, database: Database) -> None:
    closing = asyncio.create_task(group.close())
    while not closing.done():
        if database._gates:
            await database.next()
        await asyncio.sleep(0)
    await closing


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("beginning", [False, True])
async def test_who_waits_together_is_committed_together_in_order(beginning: bool, pipelined: bool):
    database, rung = Database(), list[int]()
    begin = database.begin if beginning else None
    group = GroupCommit(database.commit, Limits(), rung.append, begin=begin, pipelined=pipelined)
    first = start(group, 3)
    await turns()
    later = start(group, 5)
    await turns()
    assert database.sizes == [3]
    await database.next()
    assert database.sizes == [3, 5]
    await database.next()
    results = await asyncio.gather(*first, *later)
    assert [result.first for result in results] == list(range(1, 9))
    assert rung == [3, 8]
    await group.close()


async def test_a_second_commit_is_begun_when_many_wait():
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None, begin=database.begin, pipelined=True)
    tasks = start(group, 40)
    await turns()
    assert database.sizes == [20, 20]
    more = start(group, 30)
    await turns()
    assert database.sizes == [20, 20]
    await database.next()
    assert database.sizes == [20, 20, 30]
    await finish(group, database)
    results = [task.result() for task in tasks + more]
    assert [result.first for result in results] == list(range(1, 71))


@pytest.mark.parametrize("beginning", [False, True])
async def test_without_a_pipeline_there_is_one_commit_at_a_time(beginning: bool):
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None, begin=database.begin if beginning else None)
    start(group, 40)
    await turns()
    start(group, 40)
    await turns()
    assert database.sizes == [40]
    await database.next()
    assert database.sizes == [40, 40]
    await finish(group, database)


async def test_a_batch_is_bounded_by_events_and_bytes():
    database = Database()
    limits = Limits(batch_events=10, batch_bytes=60)
    group = GroupCommit(database.commit, limits, lambda head: None)
    tasks = [asyncio.create_task(group.append(append("a", size))) for size in (4, 5, 3, 30, 1)]
    await finish_when_idle(group, database)
    assert [[each.size for each in batch] for batch in database.batches] == [[4, 5], [3], [30], [1]]
    await asyncio.gather(*tasks)


async def finish_when_idle(group: GroupCommit, database: Database) -> None:
    await turns()
    await finish(group, database)


async def test_the_queue_is_bounded():
    database = Database()
    group = GroupCommit(database.commit, Limits(waiting_appends=3), lambda head: None)
    tasks = start(group, 3)
    await turns()
    with pytest.raises(Overloaded, match="nothing was stored"):
        await group.append(append())
    assert group.waiting == 3
    await database.next()
    await asyncio.gather(*tasks)
    assert group.waiting == 0
    await group.close()


async def test_the_queue_is_bounded_by_bytes_too():
    database = Database()
    group = GroupCommit(database.commit, Limits(waiting_bytes=20), lambda head: None)
    tasks = start(group, 5)
    await turns()
    with pytest.raises(Overloaded):
        await group.append(append())
    await finish(group, database)
    await asyncio.gather(*tasks)


async def test_an_append_larger_than_the_queue_waits_alone():
    database = Database()
    group = GroupCommit(database.commit, Limits(waiting_bytes=20), lambda head: None)
    large = asyncio.create_task(group.append(append("a", size=10)))
    await turns()
    with pytest.raises(Overloaded):
        await group.append(append())
    await finish(group, database)
    assert (await large).last == 10


async def test_an_append_that_could_not_be_judged_goes_first_in_the_next_batch():
    seen: list[list[str]] = []

    async def commit(appends: Sequence[Append]) -> Sequence[Outcome]:
        seen.append([each.streams[0].stream for each in appends])
        await asyncio.sleep(0)
        if len(seen) == 1:
            return [accepted(appends[0], 1), *[AGAIN] * (len(appends) - 1)]
        return [accepted(each, 9) for each in appends]

    group = GroupCommit(commit, Limits(), lambda head: None)
    first = [asyncio.create_task(group.append(append(name))) for name in "abc"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = asyncio.create_task(group.append(append("d")))
    await asyncio.gather(*first, later)
    assert seen == [["a", "b", "c"], ["b", "c", "d"]]


async def test_a_commit_that_fails_answers_everybody():
    async def commit(appends: Sequence[Append]) -> Sequence[Outcome]:
        raise ZeroDivisionError("no database")

    group = GroupCommit(commit, Limits(), lambda head: None)
    outcomes = await asyncio.gather(*start(group, 3), return_exceptions=True)
    # Nobody knows whether it was stored before whatever went wrong.
    assert [type(each) for each in outcomes] == [OutcomeUnknown] * 3
    assert "no database" in str(outcomes[0])
    await group.close()


async def test_a_commit_that_cannot_be_begun_answers_everybody():
    def begin(appends: Sequence[Append], done: Callable[[Sequence[Outcome]], None]) -> bool:
        raise StoreLocked("somebody else has it")

    group = GroupCommit(Database().commit, Limits(), lambda head: None, begin=begin)
    outcomes = await asyncio.gather(*start(group, 3), return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreLocked] * 3
    await group.close()


async def test_a_commit_that_is_declined_is_done_the_other_way():
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None, begin=lambda appends, done: False)
    tasks = start(group, 3)
    await finish_when_idle(group, database)
    assert [task.result().first for task in tasks] == [1, 2, 3]


async def test_a_store_that_forgets_an_answer_leaves_nobody_waiting():
    async def commit(appends: Sequence[Append]) -> Sequence[Outcome]:
        return [accepted(each, 1) for each in appends[1:]]

    group = GroupCommit(commit, Limits(), lambda head: None)
    outcomes = await asyncio.gather(*start(group, 3), return_exceptions=True)
    assert [type(each) for each in outcomes] == [OutcomeUnknown] * 3
    await group.close()


async def test_whose_commit_is_cancelled_with_the_loop_is_told_that_nobody_knows():
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None)
    tasks = start(group, 2)
    await turns()
    (committing,) = group._tasks
    committing.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in outcomes] == [OutcomeUnknown] * 2


async def test_a_conflict_is_its_own_callers_alone():
    async def commit(appends: Sequence[Append]) -> Sequence[Outcome]:
        return [Conflict("a", 1, 2), *(accepted(each, 1) for each in appends[1:])]

    group = GroupCommit(commit, Limits(), lambda head: None)
    outcomes = await asyncio.gather(*start(group, 3), return_exceptions=True)
    assert [type(each) for each in outcomes] == [Conflict, AppendResult, AppendResult]
    await group.close()


async def test_who_is_cancelled_before_the_commit_takes_the_append_back():
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None)
    start(group, 1)
    await turns()
    given_up, kept = start(group, 2)
    await turns()
    given_up.cancel()
    await database.next()
    assert database.sizes == [1, 1]
    await database.next()
    assert (await kept).first == 2
    assert group.waiting == 0
    await group.close()


async def test_the_same_append_twice_at_once_is_committed_once():
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None)
    same = append()
    first, second = (asyncio.create_task(group.append(same)) for _ in range(2))
    await turns()
    await database.next()
    assert await first == await second
    assert [(await each).repeated for each in (first, second)] == [False, True]
    assert database.sizes == [1]
    await group.close()


@pytest.mark.parametrize("under_way", [False, True])
async def test_who_joined_an_append_makes_it_their_own_when_the_first_gives_up(under_way: bool):
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None)
    if not under_way:
        start(group, 1)
        await turns()
    each = append("mine")
    first, second = (asyncio.create_task(group.append(each)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    while not second.done():
        await database.next()
    assert (await second).id == each.id
    assert group.waiting == 0
    await group.close()


async def test_close_commits_what_waits_and_refuses_the_rest():
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None, begin=database.begin, pipelined=True)
    tasks = start(group, 50)
    await turns()
    closing = asyncio.create_task(group.close())
    await turns()
    with pytest.raises(StoreUnavailable, match="closed"):
        await group.append(append())
    assert not closing.done()
    while database._gates:
        await database.next()
    await closing
    assert len([task.result() for task in tasks]) == 50


async def test_close_does_not_wait_for_appends_that_were_given_up():
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None)
    tasks = start(group, 2)
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(5):
        await group.close()
    assert database.sizes == []


async def test_everybody_who_closes_waits_until_it_is_closed():
    database = Database()
    group = GroupCommit(database.commit, Limits(), lambda head: None)
    start(group, 2)
    await turns()
    closing = [asyncio.create_task(group.close()) for _ in range(3)]
    await turns()
    closing.pop().cancel()  # who gives up waiting does not wake the others
    await turns()
    assert not any(each.done() for each in closing)
    await database.next()
    async with asyncio.timeout(5):
        await asyncio.gather(*closing)
