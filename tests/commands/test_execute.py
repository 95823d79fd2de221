"""A command is decided on fresh state, its events are appended once, and its caller is told what became of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from refold import Aggregate, App, Command, Conflict, Enveloped, Event, Receipt, Recorded, Rejected, decide, evolve
from refold.app import Context
from refold.errors import (
    FoldFailed,
    IdReused,
    InvalidAppend,
    InvalidCommand,
    InvalidQuery,
    PayloadTooLarge,
    StateChanged,
    UnknownCommand,
)
from refold.messages.recorded import StoredEvent
from refold.store.append import Append, AppendResult
from refold.store.group_commit import Limits
from refold.testing.memory import MemoryStore
from tests.domain import (
    Account,
    AccountOpened,
    CloseAccount,
    DepositMoney,
    MoneyDeposited,
    MoneyWithdrawn,
    OpenAccount,
    WithdrawMoney,
    bank,
)


def deposit(amount: int, account: str = "42") -> DepositMoney:
    return DepositMoney(account_id=account, amount=Decimal(amount))


async def test_a_receipt_says_where_the_events_are(context: Context):
    opened = await context.execute(OpenAccount(account_id="42", owner="alice"), actor="alice")
    deposited = await context.execute(deposit(100))

    assert (opened.stream, opened.version, opened.position, opened.events) == (
        "account-42",
        1,
        1,
        (AccountOpened(owner="alice"),),
    )
    assert (deposited.version, deposited.position) == (2, 2)
    assert deposited.timestamp >= opened.timestamp
    assert (await context.load(Account, "42")).balance == 100


async def test_metadata_says_who_and_why(context: Context):
    cause = uuid4()
    await context.execute(
        deposit(1),
        actor="alice",
        correlation_id="case-7",
        causation_id=cause,
        traceparent="00-1-2-01",
        data={"ip": "::1"},
    )
    plain = await context.execute(deposit(2))

    first, second = [recorded.metadata for recorded in await context.history("account-42")]
    assert (first.actor, first.correlation_id, first.causation_id) == ("alice", "case-7", str(cause))
    assert (first.command, first.traceparent, first.data) == ("DepositMoney", "00-1-2-01", {"ip": "::1"})
    assert second.command_id == second.correlation_id == second.causation_id == str(plain.command_id)


async def test_a_refusal_gives_the_reason_and_stores_nothing(context: Context):
    with pytest.raises(Rejected, match="only 0 is there"):
        await context.execute(WithdrawMoney(account_id="42", amount=Decimal(1)))
    assert (await context.store.head()).position == 0


async def test_nothing_to_do_is_not_an_error(context: Context):
    closed = await context.execute(CloseAccount(account_id="42"))
    again = await context.execute(CloseAccount(account_id="42"))
    assert again.events == ()
    assert (again.version, again.position) == (closed.version, closed.position)


async def test_many_with_ids_of_their_own_are_done_once_each(context: Context):
    def batch() -> list[Command | Enveloped]:
        deposits = [
            Enveloped(command=DepositMoney(account_id=str(n % 3), amount=Decimal(n)), command_id=f"deposit-{n}")
            for n in range(1, 7)
        ]
        return [DepositMoney(account_id="plain", amount=Decimal(1)), *deposits, deposits[0]]

    first = await context.execute_many(batch())
    again = await context.execute_many(batch())
    assert all(isinstance(receipt, Receipt) for receipt in first)
    assert again[1:] == first[1:]
    assert first[7] == first[1]
    assert await context.store.stream_version("account-plain") == 2
    assert [await context.store.stream_version(f"account-{n}") for n in range(3)] == [2, 2, 2]
    one = await context.execute(DepositMoney(account_id="1", amount=Decimal(1)), command_id="deposit-1")
    assert one == first[1]


async def test_many_where_one_id_was_another_commands(context: Context):
    given = [
        Enveloped(command=DepositMoney(account_id=account, amount=Decimal(1)), command_id="once") for account in "12"
    ]
    outcomes = await context.execute_many(given)
    # They are of two streams, so either may be the first.
    assert {type(outcome) for outcome in outcomes} == {Receipt, IdReused}
    assert (await context.store.head()).position == 1


async def test_an_envelope_of_its_own_is_stronger_than_the_common_one(context: Context):
    day = datetime(1994, 1, 15, tzinfo=UTC)
    own = Enveloped(
        command=DepositMoney(account_id="1", amount=Decimal(1)),
        actor="bob",
        correlation_id="c",
        causation_id="d",
        traceparent="t",
        data={"x": 1},
        occurred_at=day,
    )
    plain = DepositMoney(account_id="1", amount=Decimal(1))
    await context.execute_many([own, plain], actor="alice", data={"y": 2})
    with_own, common = await context.history("account-1")
    read = with_own.metadata
    assert (read.actor, read.correlation_id, read.causation_id, read.traceparent) == ("bob", "c", "d", "t")
    assert (read.data, with_own.occurred_at) == ({"x": 1}, day)
    assert (common.metadata.actor, common.metadata.data, common.stored.occurred_at) == ("alice", {"y": 2}, None)


async def test_the_same_command_twice_gives_the_first_receipt(context: Context):
    first = await context.execute(OpenAccount(account_id="42", owner="alice"), command_id="request-1")
    await context.execute(deposit(100))
    again = await context.execute(OpenAccount(account_id="42", owner="alice"), command_id="request-1")
    assert again == first
    assert (await context.store.head()).position == 2


async def test_the_same_accepted_command_twice_is_stored_once(context: Context):
    first = await context.execute(deposit(100), command_id=UUID(int=5))
    await context.execute(deposit(1))
    assert await context.execute(deposit(100), command_id=UUID(int=5)) == first
    assert (await context.load(Account, "42")).balance == 101
    # The live state must not have kept what was decided for the repetition.
    await context.execute(WithdrawMoney(account_id="42", amount=Decimal(101)))
    with pytest.raises(Rejected):
        await context.execute(WithdrawMoney(account_id="42", amount=Decimal(1)))


async def test_the_same_command_at_the_same_time_is_stored_once(context: Context):
    receipts = await asyncio.gather(*(context.execute(deposit(7), command_id="once") for _ in range(20)))
    assert len(set(map(repr, receipts))) == 1
    assert (await context.load(Account, "42")).balance == 7


async def test_commands_that_wait_together_are_decided_on_each_other(context: Context):
    await context.execute(deposit(10))
    results = await context.execute_many(WithdrawMoney(account_id="42", amount=Decimal(3)) for _ in range(8))
    refused = [result for result in results if isinstance(result, Rejected)]
    assert len(refused) == 5
    assert (await context.load(Account, "42")).balance == 1
    assert [recorded.version for recorded in await context.history("account-42")] == [1, 2, 3, 4]


async def test_many_callers_on_many_streams_lose_nothing(context: Context):
    await asyncio.gather(*(context.execute(deposit(1, str(n % 5))) for n in range(200)))
    balances = [(await context.load(Account, str(n))).balance for n in range(5)]
    assert balances == [40] * 5


async def test_another_writer_is_noticed_and_the_command_decided_again(context: Context):
    await context.execute(deposit(10))
    await context.append("account-42", [MoneyDeposited(amount=Decimal(5))])  # behind the live state's back
    receipt = await context.execute(WithdrawMoney(account_id="42", amount=Decimal(15)))
    assert receipt.version == 3
    assert (await context.load(Account, "42")).balance == 0


async def test_a_conflict_is_raised_after_bounded_attempts(context: Context):
    class Meddler:
        """A store in which somebody else is always faster."""

        def __init__(self, store: Any) -> None:
            self._store = store
            self.attempts = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def append(self, append: Any) -> Any:
            self.attempts += 1
            await context.append("account-42", [MoneyDeposited(amount=Decimal(1))])
            return await self._store.append(append)

    meddler = Meddler(context.store)
    async with bank.connect(meddler, projections=False) as other:
        with pytest.raises(Conflict) as conflict:
            await other.execute(deposit(100))
    assert meddler.attempts == 40
    assert (conflict.value.stream, conflict.value.expected, conflict.value.actual) == ("account-42", 39, 40)
    assert (await context.load(Account, "42")).balance == 40


async def test_unknown_commands_and_wrong_fields_are_named(context: Context):
    class Unknown(Command):
        account_id: str

    with pytest.raises(UnknownCommand, match=r"no aggregate of this app decides Unknown; it knows: .*DepositMoney"):
        await context.execute(Unknown(account_id="42"))
    with pytest.raises(InvalidCommand, match=r"DepositMoney: .*\$\.amount"):
        await context.execute(DepositMoney(account_id="42", amount="much"))  # type: ignore[arg-type]  # that is the mistake
    with pytest.raises(InvalidCommand, match=r"OpenAccount: .*\$\.owner"):
        await context.execute(OpenAccount(account_id="42", owner=5))  # type: ignore[arg-type]  # that is the mistake
    assert (await context.store.head()).position == 0


async def test_a_number_in_a_command_that_would_become_null_is_refused():
    class Measure(Command):
        thing_id: str
        value: float | None

    class Measured(Event):
        value: float | None

    class Gauge(Aggregate, stream="gauge", id="thing_id"):
        @decide
        def measure(self, command: Measure) -> Measured:
            return Measured(value=command.value)

    async with App("gauges", aggregates=[Gauge]).connect(MemoryStore()) as gauges:
        with pytest.raises(InvalidCommand, match="JSON has no word for the number nan"):
            await gauges.execute(Measure(thing_id="1", value=float("nan")))
        with pytest.raises(InvalidAppend, match="no text that can be stored"):
            await gauges.execute(Measure(thing_id="1", value=1.5), command_id="\ud800")


async def test_a_mistake_in_one_of_many_is_raised_when_the_others_are_done():
    """They went on behind the back of a caller who had been told that it failed, and who may have tried again."""

    class Put(Command):
        thing_id: str

    class WasPut(Event):
        pass

    class Thing(Aggregate, stream="thing", id="thing_id"):
        @decide
        def put(self, command: Put) -> WasPut:
            return {"1": WasPut(), "3": WasPut()}[command.thing_id]

    async with App("things", aggregates=[Thing]).connect(MemoryStore()) as things:
        with pytest.raises(KeyError, match="2"):
            await things.execute_many([Put(thing_id="2"), Put(thing_id="1"), Put(thing_id="3")])
        assert (await things.store.head()).position == 2


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "1E+131072"])
async def test_a_decimal_that_is_no_amount_is_refused(context: Context, amount: str):
    """Before the domain sees it: NaN > 0 raises there, and Infinity > 0 would be deposited."""
    with pytest.raises(InvalidCommand, match=r"command DepositMoney: amount (is .*, not a finite|has more digits)"):
        await context.execute(DepositMoney(account_id="42", amount=Decimal(amount)))
    assert await context.history("account-42") == []


@pytest.mark.parametrize("account", ["", "a\x00b", "tab\t", "x" * 300, "\ud800"])
async def test_ids_that_make_no_stream_are_refused(context: Context, account: str):
    with pytest.raises((InvalidAppend, InvalidCommand)):
        await context.execute(DepositMoney(account_id=account, amount=Decimal(1)))
    assert (await context.store.head()).position == 0


async def test_metadata_that_cannot_be_kept_is_refused(context: Context):
    for actor in ("\x00", "\ud800"):
        with pytest.raises(InvalidAppend, match="metadata"):
            await context.execute(deposit(1), actor=actor)
    assert (await context.store.head()).position == 0


@pytest.mark.parametrize(
    "wrong", [{"actor": 5}, {"traceparent": 5}, {"data": 5}, {"command_id": ""}, {"command_id": 5}]
)
async def test_metadata_of_the_wrong_type_is_refused(context: Context, wrong: dict[str, Any]):
    with pytest.raises(InvalidAppend, match=r"is not|is empty"):
        await context.execute(deposit(1), **wrong)
    assert (await context.store.head()).position == 0


async def test_an_id_that_was_another_commands_is_refused(context: Context):
    await context.execute(deposit(1, "a"), command_id="order-7")
    for other in (deposit(1, "b"), OpenAccount(account_id="a", owner="alice")):
        with pytest.raises(IdReused, match=r"was given to DepositMoney for stream 'account-a' before"):
            await context.execute(other, command_id="order-7")
    await context.append("note-1", [MoneyDeposited(amount=Decimal(1))], append_id="note-7")
    with pytest.raises(IdReused, match=r"was given to an append for stream 'note-1' before"):
        await context.execute(deposit(1, "a"), command_id="note-7")
    assert (await context.store.head()).position == 2


async def test_other_commands_at_the_same_time_under_one_id_never_share_a_receipt(context: Context):
    outcomes = await asyncio.gather(
        *(context.execute(deposit(1, str(number)), command_id="order-7") for number in range(4)), return_exceptions=True
    )
    receipts = [each for each in outcomes if not isinstance(each, BaseException)]
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] == [IdReused] * 3
    assert [event.stream for event in await context.history(receipts[0].stream)] == [receipts[0].stream]
    assert (await context.store.head()).position == 1


async def test_a_command_with_a_naive_moment_is_refused():
    class Book(Command):
        room_id: str
        nights: list[datetime] = []

    class Booked(Event):
        at: datetime

    class Room(Aggregate, stream="room", id="room_id"):
        @decide
        def book(self, command: Book) -> Booked:
            return Booked(at=command.nights[0] if command.nights else datetime(2026, 1, 15))

    async with App("hotel", aggregates=[Room]).connect(MemoryStore()) as hotel:
        with pytest.raises(InvalidCommand, match=r"Book: nights\[1\] has no time zone"):
            await hotel.execute(Book(room_id="1", nights=[datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 16)]))
        with pytest.raises(InvalidCommand, match=r"Book: nights\[0\] is not within the years 1 to 9999 in UTC"):
            await hotel.execute(Book(room_id="1", nights=[datetime.fromisoformat("0001-01-01T00:00:00+14:00")]))
        with pytest.raises(InvalidAppend, match=r"event 'Booked': at has no time zone"):
            await hotel.execute(Book(room_id="1"))
        assert (await hotel.store.head()).position == 0


async def test_a_fold_that_reads_positions_sees_the_real_ones():
    class Touch(Command):
        thing_id: str

    class Touched(Event):
        pass

    class Thing(Aggregate, stream="thing", id="thing_id"):
        positions: list[int] = msgspec.field(default_factory=list)

        @decide
        def touch(self, command: Touch) -> Touched:
            return Touched()

        @evolve
        def touched(self, event: Touched, recorded: Recorded[Touched]) -> None:
            self.positions.append(recorded.position)

    async with App("things", aggregates=[Thing]).connect(MemoryStore()) as things:
        await asyncio.gather(*(things.execute(Touch(thing_id="1")) for _ in range(10)))
        commands = things._commands
        assert commands.live("thing-1", Thing).confirmed.state.positions == list(range(1, 11))
        assert (await things.load(Thing, "1")).positions == list(range(1, 11))


async def test_a_cancelled_caller_does_not_disturb_the_others(context: Context):
    await context.execute(deposit(100))
    tasks = [asyncio.create_task(context.execute(deposit(1))) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    acknowledged = sum(not isinstance(outcome, BaseException) for outcome in outcomes)
    history = await context.history("account-42")
    assert acknowledged == 13
    assert 13 <= len(history) - 1 <= 20
    assert (await context.load(Account, "42")).balance == 100 + len(history) - 1
    assert (await context.execute(deposit(1))).version == len(history) + 1


@pytest.mark.slow
@pytest.mark.parametrize("limits", [None, Limits(waiting_appends=5)])
async def test_an_app_may_allow_larger_events(limits: Limits | None):
    class Store(Command):
        file_id: str
        text: str

    class Stored(Event):
        text: str

    class File(Aggregate, stream="file", id="file_id"):
        @decide
        def store(self, command: Store) -> Stored:
            return Stored(text=command.text)

    app = App("files", aggregates=[File], payload_limit=12_000_000)
    async with app.connect("sqlite:///:memory:", limits=limits) as files:
        await files.execute(Store(file_id="1", text="x" * 10_000_000))
        with pytest.raises(PayloadTooLarge, match="the limit is 12,000,000"):
            await files.execute(Store(file_id="1", text="x" * 100_000_000))
        assert (await files.store.head()).position == 1


async def test_a_fold_that_fails_after_the_append_is_named_and_no_lie_is_told():
    class Touch(Command):
        thing_id: str

    class Touched(Event):
        pass

    class Thing(Aggregate, stream="thing", id="thing_id"):
        seen: dict[str, int] = {}

        @decide
        def touch(self, command: Touch) -> Touched:
            return Touched()

        @evolve
        def touched(self, event: Touched) -> None:
            self.seen["missing"] += 1

    async with App("things", aggregates=[Thing]).connect("sqlite:///:memory:") as things:
        receipt = await things.execute(Touch(thing_id="1"), command_id="first")
        assert (receipt.position, receipt.events) == (1, (Touched(),))
        for again in (things.execute(Touch(thing_id="1")), things.load(Thing, "1")):
            with pytest.raises(FoldFailed, match=r"Thing cannot fold event 'Touched' at position 1 .*KeyError"):
                await again
        assert (await things.store.head()).position == 1


async def test_queries_that_mean_nothing_are_refused(context: Context):
    await context.execute(deposit(1))
    with pytest.raises(InvalidQuery, match="give as_of too"):
        await context.load(Account, "42", time="occurred")
    with pytest.raises(InvalidQuery, match="limit=-1"):
        await context.history("account-42", limit=-1)
    wrong: list[dict[str, Any]] = [{"types": MoneyDeposited}, {"tags": "account:42"}, {"categories": "account"}]
    for arguments in wrong:
        with pytest.raises(InvalidQuery, match="must be a list"):
            async for _ in context.events(**arguments):
                pass


async def test_what_was_decided_on_a_failed_append_fails_with_it(context: Context):
    """Somebody else's event brings the stream to the very version that the second command expects: that the first one's
    event is not there must void it all the same.
    """
    await context.execute(deposit(100))
    _, deposited, withdrawn = await asyncio.gather(
        context.append("account-42", [MoneyWithdrawn(amount=Decimal(100))]),  # behind the live state's back
        context.execute(deposit(50)),
        context.execute(WithdrawMoney(account_id="42", amount=Decimal(150))),
        return_exceptions=True,
    )
    assert not isinstance(deposited, BaseException)
    assert isinstance(withdrawn, Rejected)
    assert (await context.load(Account, "42")).balance == 50


class Write(Command):
    page_id: str
    lines: list[str]


class Written(Event):
    lines: list[str]


class Page(Aggregate, stream="page", id="page_id"):
    lines: list[str] = []

    @decide
    def write(self, command: Write) -> Written:
        return Written(lines=command.lines)

    @evolve
    def written(self, event: Written) -> None:
        if self.lines:
            self.lines += event.lines
        else:
            self.lines = event.lines


async def test_results_that_come_out_of_order_are_folded_in_order():
    class LateForTheFirst(MemoryStore):
        """Postgres looks up the first result of a repeated append, while the batch after it is answered."""

        async def append(self, append: Append) -> AppendResult:
            result = await super().append(append)
            if result.first == 1:
                await asyncio.sleep(0.01)
            return result

    async with App("pages", aggregates=[Page]).connect(LateForTheFirst()) as pages:
        await asyncio.gather(*(pages.execute(Write(page_id="1", lines=[line])) for line in "abc"))
        live = pages._commands.live("page-1", Page)
        assert live.confirmed.state == await pages.load(Page, "1") == Page(lines=["a", "b", "c"])
        assert (live.confirmed.version, live.confirmed.position) == (3, 3)


async def test_no_fold_changes_an_event_that_another_fold_or_the_caller_holds():
    """The first event's list becomes the state's, and the second event is added to it."""
    async with App("pages", aggregates=[Page]).connect(MemoryStore()) as pages:
        receipts = await asyncio.gather(*(pages.execute(Write(page_id="1", lines=[line])) for line in "abc"))
        await pages.execute(Write(page_id="1", lines=["d"]))
        assert pages._commands.live("page-1", Page).confirmed.state == Page(lines=["a", "b", "c", "d"])
        assert [receipt.events for receipt in receipts] == [(Written(lines=[line]),) for line in "abc"]
        async with pages.transaction() as unit:
            first = await unit.command(Write(page_id="2", lines=["a"]))
            await unit.command(Write(page_id="2", lines=["b"]))
        assert first == (Written(lines=["a"]),)


async def test_a_conflict_that_comes_late_leaves_what_was_staged_since_alone():
    class LateConflict(MemoryStore):
        """The second command hears late that it failed, and gives up while it reads the stream again."""

        async def append(self, append: Append) -> AppendResult:
            try:
                result = await super().append(append)
            except Conflict:
                if b"second" in append.streams[0].events[0].payload:
                    await others_are_done.wait()
                raise
            if result.first == 4:
                others_are_done.set()
                await given_up.wait()  # it is in the log, and not confirmed yet
            return result

        async def read_stream(self, *args: Any, **options: Any) -> list[StoredEvent]:
            if others_are_done.is_set() and not given_up.is_set():
                second.cancel()
                given_up.set()
                await asyncio.sleep(1)
            return await super().read_stream(*args, **options)

    others_are_done, given_up = asyncio.Event(), asyncio.Event()
    async with App("pages", aggregates=[Page]).connect(LateConflict()) as pages:
        await pages.execute(Write(page_id="1", lines=["a"]))
        somebody = asyncio.create_task(pages.append("page-1", [Written(lines=["b"])]))
        await asyncio.sleep(0)
        first = asyncio.create_task(pages.execute(Write(page_id="1", lines=["first"])))
        second = asyncio.create_task(pages.execute(Write(page_id="1", lines=["second"])))
        await asyncio.gather(somebody, first)
        third = asyncio.create_task(pages.execute(Write(page_id="1", lines=["third"])))
        await asyncio.wait([second, third], timeout=0.1)
        second.cancel()
        given_up.set()
        await third
        await pages.execute(Write(page_id="1", lines=["fourth"]))
        live = pages._commands.live("page-1", Page)
        assert live.confirmed.state == await pages.load(Page, "1")
        assert live.confirmed.state.lines[:4] == ["a", "b", "first", "third"]


async def test_who_joined_a_caller_that_is_cancelled_executes_the_command_itself(context: Context):
    await context.execute(deposit(100))
    tasks = [asyncio.create_task(context.execute(deposit(7), command_id="once")) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[2].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [True, False, True, False]
    assert repr(outcomes[1]) == repr(outcomes[3])
    assert (await context.load(Account, "42")).balance == 107


async def test_nothing_to_do_is_said_soon_on_a_stream_that_never_rests(context: Context):
    async def deposit_for_ever() -> None:
        while True:
            await context.execute(deposit(1))

    await context.execute(CloseAccount(account_id="42"))
    busy = [asyncio.create_task(deposit_for_ever()) for _ in range(10)]
    await asyncio.sleep(0.01)
    try:
        for _ in range(5):
            receipt = await asyncio.wait_for(context.execute(CloseAccount(account_id="42")), 5)
            assert receipt.events == ()
            assert [each.version for each in await context.history("account-42")][
                receipt.position - 1
            ] == receipt.version
    finally:
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


class Paid(Event, name="Paid"):
    amount: int


class Pay(Command, name="Pay"):
    purse_id: str
    amount: int
    how: str = "well"


class Purse(Aggregate, stream="purse", id="purse_id"):
    """Its rule changes what it is given, in the ways that people do by mistake."""

    left: int = 100
    paid: list[int] = []

    @decide
    def pay(self, command: Pay) -> Paid | None:
        match command.how:
            case "field":
                self.left -= command.amount
            case "list":
                self.paid.append(command.amount)
            case "both ways":
                self.left, self.paid = self.left - 1, [*self.paid, 1]
        if command.amount > self.left:
            raise Rejected("too much")
        return Paid(amount=command.amount)

    @evolve
    def was_paid(self, event: Paid) -> None:
        self.left -= event.amount
        self.paid.append(event.amount)


purses = App("purses", aggregates=[Purse])


@pytest.mark.parametrize("how", ["field", "list", "both ways"])
@pytest.mark.parametrize("amount", [10, 1000], ids=["accepted", "refused"])
async def test_a_rule_that_changes_its_state_is_found_out(how: str, amount: int) -> None:
    """Nothing is stored, and the next commands are decided on what the log says; also where others are under way."""
    async with purses.connect(MemoryStore()) as context:
        await context.execute(Pay(purse_id="1", amount=30))
        with pytest.raises(StateChanged, match=r"Purse\.pay changed the state while it decided"):
            await context.execute(Pay(purse_id="1", amount=amount, how=how))
        assert await context.load(Purse, "1") == Purse(left=70, paid=[30])
        results = await context.execute_many(
            [
                Pay(purse_id="1", amount=20),
                Pay(purse_id="1", amount=amount, how=how),
                Pay(purse_id="1", amount=25),
                Pay(purse_id="1", amount=26),
            ]
        )
        assert [type(each) for each in results] == [Receipt, StateChanged, Receipt, Rejected]
        await context.execute(Pay(purse_id="1", amount=25))
        assert await context.load(Purse, "1") == Purse(left=0, paid=[30, 20, 25, 25])
        with pytest.raises(StateChanged):
            await context.dry_run(Pay(purse_id="1", amount=amount, how=how))
