"""The client has the methods of a context: code moves from one to the other by its URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from refold import App, Context, Enveloped, Receipt, field
from refold.client import Client, ServerFailed, connect
from refold.errors import (
    ConfigurationError,
    InvalidAppend,
    InvalidCommand,
    InvalidQuery,
    LogRegression,
    OutcomeUnknown,
    Rejected,
    StoreUnavailable,
)
from refold.messages.ids import as_uuid
from refold.server import ApiKeys, Authentication, Server
from tests.server import odd
from tests.server.domain import (
    Account,
    AccountSummary,
    Address,
    DepositMoney,
    DepositsPerDay,
    Kind,
    MoneyDeposited,
    Nonsense,
    NotYours,
    OpenAccount,
    Relabel,
    TakeNote,
    WithdrawMoney,
    app,
)
from tests.server.process import ServerProcess

Either = Context | Client
Opened = Callable[[], AbstractAsyncContextManager[Either]]


@pytest.fixture(params=["in process", "over HTTP"])
async def bank(request: pytest.FixtureRequest) -> AsyncIterator[Either]:
    """The same bank, here and there."""
    if request.param == "in process":
        async with connect(app, "sqlite:///:memory:") as context:
            yield context
        return
    async with Server(app, "sqlite:///:memory:") as server, over_http(server) as client:
        yield client


@asynccontextmanager
async def over_http(server: Server, key: str | None = None, app: App = app) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(app=server, client=("127.0.0.1", 1))
    async with Client(app, "http://127.0.0.1:1", key=key, transport=transport) as client:
        yield client


async def test_commands_and_what_they_did(bank: Either) -> None:
    opened = await bank.execute(OpenAccount(account_id="4/2", owner="alice", address=Address("Main")))
    receipt = await bank.execute(DepositMoney(account_id="4/2", amount=Decimal("12.50")), command_id="once")
    again = await bank.execute(DepositMoney(account_id="4/2", amount=Decimal("12.50")), command_id="once")

    assert (opened.stream, opened.version, receipt.position) == ("account-4/2", 1, 2)
    assert receipt.events == (MoneyDeposited(amount=Decimal("12.50"), payer="alice"),)
    assert again == receipt
    assert await bank.dry_run(WithdrawMoney(account_id="4/2", amount=Decimal(2))) == (
        "account-4/2", 2, [app.types.named("MoneyWithdrawn")(amount=Decimal(2))],
    )  # fmt: skip


async def test_what_is_refused_is_refused_alike(bank: Either) -> None:
    await bank.execute(OpenAccount(account_id="1", owner="alice"))
    with pytest.raises(Rejected, match="open already"):
        await bank.execute(OpenAccount(account_id="1", owner="bob"))
    with pytest.raises(InvalidCommand):
        await bank.execute(OpenAccount(account_id="", owner="bob"))
    with pytest.raises(InvalidCommand, match="was given to"):
        await bank.execute(DepositMoney(account_id="1", amount=Decimal(1)), command_id="x")
        await bank.execute(DepositMoney(account_id="2", amount=Decimal(1)), command_id="x")


async def test_a_refusal_has_the_domains_own_class(bank: Either) -> None:
    """So that `except NotYours` means the same here and there."""
    with pytest.raises(NotYours, match="this account is nobody's") as refused:
        await bank.execute(WithdrawMoney(account_id="none", amount=Decimal(1)))
    assert refused.value.reason == "this account is nobody's"
    with pytest.raises(Nonsense, match="an amount is above 0"):
        await bank.dry_run(DepositMoney(account_id="1", amount=Decimal(0)))


async def test_a_refusal_that_cannot_be_made_again_is_a_plain_one() -> None:
    """Its text is made of what only the server knows."""
    async with Server(odd.app, "sqlite:///:memory:") as server, over_http(server, app=odd.app) as client:
        with pytest.raises(Rejected, match="7 are too many") as refused:
            await client.execute(odd.Order(order_id="1", pieces=7))
        assert type(refused.value) is Rejected


async def test_what_the_server_did_not_expect_is_not_taken_for_a_server_that_is_away() -> None:
    async with Server(odd.app, "sqlite:///:memory:") as server, over_http(server, app=odd.app) as client:
        with pytest.raises(ServerFailed, match="it went wrong; see the server's log"):
            await client.execute(odd.Order(order_id="1", pieces=0))


async def test_many_commands_for_one_stream_are_done_in_their_order(bank: Either) -> None:
    labels = [[str(number)] for number in range(20)]
    opened = [OpenAccount(account_id=each, owner="a") for each in "xy"]
    relabelled = [Relabel(account_id=each, labels=label) for label in labels for each in "xy"]
    done = await bank.execute_many([*opened, *relabelled])
    assert [each.version for each in done if isinstance(each, Receipt)] == [n for n in range(1, 22) for _ in "xy"]
    for account in "xy":
        said = [each.event.labels for each in await bank.history(f"account-{account}", after=1)]
        assert said == labels


async def test_many_commands_with_ids_of_their_own(bank: Either) -> None:
    await bank.execute(OpenAccount(account_id="1", owner="a"))
    once = Enveloped(command=DepositMoney(account_id="1", amount=Decimal(1)), command_id="once", correlation_id="talk")
    first, again = await bank.execute_many([once, once])
    assert isinstance(first, Receipt)
    assert first == again
    (recorded,) = await bank.history("account-1", after=1)
    assert recorded.metadata.correlation_id == "talk"


async def test_what_only_a_context_takes_of_an_envelope_is_refused() -> None:
    """The actor is whom the key belongs to; nothing else was sent."""
    async with Server(app, "sqlite:///:memory:") as server, over_http(server) as client:
        (refused,) = await client.execute_many([Enveloped(command=TakeNote(note_id="n", text="x"), actor="mallory")])
        assert isinstance(refused, InvalidCommand)
        assert "takes no actor= of its own" in str(refused)
        assert await client.history("note-n") == []


async def test_many_commands_each_with_what_became_of_it(bank: Either) -> None:
    done = await bank.execute_many(
        [OpenAccount(account_id="1", owner="a"), TakeNote(note_id="n", text="x" * 101), TakeNote(note_id="n", text="x")]
    )

    assert [type(each).__name__ for each in done] == ["Receipt", "InvalidCommand", "Receipt"]


async def test_rows_are_read_alike(bank: Either) -> None:
    last = await bank.execute(TakeNote(note_id="0", text="first"))
    for number in range(5):
        await bank.execute(OpenAccount(account_id=str(number), owner=f"o{number % 2}"))
        last = await bank.execute(DepositMoney(account_id=str(number), amount=Decimal(number * 400 + 1)))

    assert await bank.get(AccountSummary, "3", after=last) == AccountSummary(
        account_id="3", owner="o1", balance=Decimal(1201), kind=Kind.LARGE, movements=1
    )
    assert await bank.get(AccountSummary, "none") is None
    assert await bank.get(DepositsPerDay, ("o1", date(2026, 1, 15)), after=last) == DepositsPerDay(
        owner="o1", day=date(2026, 1, 15), amount=Decimal(1602)
    )
    found = await bank.find(
        AccountSummary, field("balance") >= 400, (field("kind") == Kind.LARGE) & (field("owner") == "o1"), after=last
    )
    assert [row.account_id for row in found] == ["3"]
    ordered = await bank.find(AccountSummary, order_by=("-owner", "-balance"), limit=3, owner="o0", city=None)
    assert [row.account_id for row in ordered] == ["4", "2", "0"]
    assert [row.account_id for row in await bank.find(AccountSummary, field("account_id").in_(["1", "2"]))] == [
        "1",
        "2",
    ]
    assert await bank.count(AccountSummary, field("balance") < 500, owner="o0") == 1
    assert (await bank.get(AccountSummary, "0", fresh=True)).movements == 1
    with pytest.raises(InvalidQuery):
        await bank.find(AccountSummary, field("nothing") == 1)
    with pytest.raises((LogRegression, Exception), match="99"):
        await bank.get(AccountSummary, "0", after=99, timeout=0)


async def test_states_and_events_are_read_alike(bank: Either) -> None:
    await bank.execute(OpenAccount(account_id="1", owner="alice"))
    receipt = await bank.execute(Relabel(account_id="1", labels=["a"]))
    await bank.execute(TakeNote(note_id="n", text="hello"))
    await bank.execute(DepositMoney(account_id="1", amount=Decimal(1)))

    assert (await bank.load(Account, "1")).balance == 1
    assert (await bank.load(Account, "1", at_version=1)).labels == []
    assert (await bank.load(Account, "1", as_of=receipt.timestamp)).labels == ["a"]
    assert await bank.load(Account, "none") == Account()
    assert [event.version for event in await bank.history("account-1", backward=True, limit=2)] == [3, 2]
    assert await bank.history("account-none") == []
    events = [event async for event in bank.events(after=1, categories=["account"])]
    assert [(event.position, event.type) for event in events] == [(2, "Relabelled"), (4, "MoneyDeposited")]
    assert events[0].event_id == (await bank.history("account-1"))[1].event_id
    assert [event.position async for event in bank.events(tags=["payer:alice"])] == [4]


@pytest.mark.parametrize("key", [".", "..", "...", "./..", "a/b", "50%", "100%25", "a?b#c", "a b+c", "ž"])
async def test_a_key_may_be_anything(bank: Either, key: str) -> None:
    """One dot or two are no way through folders."""
    receipt = await bank.execute(OpenAccount(account_id=key, owner=key))

    row = await bank.get(AccountSummary, key, after=receipt)
    assert row is not None
    assert (row.account_id, (await bank.load(Account, key)).owner) == (key, key)


async def test_one_of_no_values_is_no_row(bank: Either) -> None:
    last = await bank.execute(OpenAccount(account_id="1", owner="alice"))
    nobody = field("owner").in_([])

    assert await bank.find(AccountSummary, nobody, after=last) == []
    assert await bank.count(AccountSummary, nobody & (field("limit") == 0), after=last) == 0


async def test_a_key_with_an_empty_part_is_read_alike(bank: Either) -> None:
    await bank.execute(OpenAccount(account_id="1", owner=""))
    last = await bank.execute(DepositMoney(account_id="1", amount=Decimal(7)))

    day = date(2026, 1, 15)
    assert await bank.get(DepositsPerDay, ("", day), after=last) == DepositsPerDay(owner="", day=day, amount=Decimal(7))
    assert await bank.get(AccountSummary, "", after=last) is None


async def test_what_cannot_be_asked_is_refused_alike(bank: Either) -> None:
    for wrong in (field("owner") == 1, field("nothing") == 1, field("limit") == True, field("labels") == []):  # noqa: E712
        with pytest.raises(InvalidQuery, match="AccountSummary"):
            await bank.find(AccountSummary, wrong)
        with pytest.raises(InvalidQuery, match="AccountSummary"):
            await bank.count(AccountSummary, wrong)
    for key in (7, ("1", "2")):
        with pytest.raises(InvalidQuery, match="cannot be a key of AccountSummary"):
            await bank.get(AccountSummary, key)
    with pytest.raises(InvalidQuery, match="limit=-1"):
        await bank.find(AccountSummary, limit=-1)
    with pytest.raises(InvalidQuery, match="nothing"):
        await bank.find(AccountSummary, order_by="nothing")


async def test_any_text_may_be_a_commands_id_but_none(bank: Either) -> None:
    deposit = DepositMoney(account_id="1", amount=Decimal(1))
    first = await bank.execute(deposit, command_id="order № 7")
    again = await bank.execute(deposit, command_id="order № 7")
    with pytest.raises(InvalidAppend, match="empty"):
        await bank.execute(deposit, command_id="")

    assert again == first
    assert (await bank.load(Account, "1")).balance == 1


@pytest.mark.parametrize(
    "answers",
    [
        [httpx.Response(504, json={"code": "timeout", "detail": "it took more than 30 s"})],
        [httpx.Response(504, text="<h1>Gateway Timeout</h1>")] * 5,
        [httpx.Response(502, text="<h1>Bad Gateway</h1>"), *[httpx.Response(503, json={"code": "unavailable"})] * 4],
    ],
)
async def test_a_command_that_may_have_been_done_is_never_said_not_to_be(answers: list[httpx.Response]) -> None:
    """`StoreUnavailable` says that nothing was stored. A server that gave up waiting, and a proxy, do not know."""
    waiting = iter(answers)
    async with Client(app, "http://127.0.0.1:1", transport=httpx.MockTransport(lambda _: next(waiting))) as client:
        with pytest.raises(OutcomeUnknown) as raised:
            await client.execute(DepositMoney(account_id="1", amount=Decimal(1)), command_id="once")

    assert raised.value.append_id == as_uuid("once")


async def test_conditions_that_http_cannot_say_are_refused_before_they_are_sent() -> None:
    async with Server(app, "sqlite:///:memory:") as server, over_http(server) as client:
        for condition in (~(field("owner") == "a"), (field("owner") == "a") | (field("owner") == "b")):
            with pytest.raises(InvalidQuery, match="over HTTP"):
                await client.find(AccountSummary, condition)


async def test_the_actor_is_whom_the_key_belongs_to(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path / "keys.json")
    key = keys.add("alice", ["commander", "reader"])
    authentication = Authentication(keys=tmp_path / "keys.json")
    async with Server(app, "sqlite:///:memory:", authentication=authentication) as server:
        async with over_http(server, key) as client:
            await client.execute(OpenAccount(account_id="1", owner="a"))
            (event,) = await client.history("account-1")
        async with over_http(server) as nobody:
            with pytest.raises(ConfigurationError, match="say who you are"):
                await nobody.get(AccountSummary, "1")

    assert event.metadata.actor == "alice"


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "bank"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no address"):
        Client(app, url)


def test_a_key_never_goes_over_the_network_unencrypted() -> None:
    with pytest.raises(ConfigurationError, match="https"):
        Client(app, "http://bank.example.com", key="refold_x")


async def test_a_server_that_is_not_there_is_said_in_one_line() -> None:
    async with Client(app, "http://127.0.0.1:9", seconds=0.5) as client:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await client.get(AccountSummary, "1")


@pytest.mark.slow
async def test_a_server_killed_while_it_works_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Commands and a subscription go on through kill -9; each command has one event, and each event is seen once."""
    number, seen = 300, []
    with ServerProcess(f"sqlite:///{tmp_path}/bank.db", tmp_path) as process:
        async with Client(app, process.url) as client:

            async def follow() -> None:
                async for event in client.subscribe():
                    seen.append((event.position, event.stream))
                    if len(seen) == number:
                        return

            async def command(key: int) -> None:
                while True:
                    try:
                        await client.execute(TakeNote(note_id=str(key), text="x"), command_id=f"note-{key}")
                    except Exception as problem:  # noqa: BLE001  # whatever a dying server leads to: again
                        last = problem
                        await asyncio.sleep(0.05)
                        assert last is not None
                    else:
                        return

            following = asyncio.create_task(follow())
            commands = [asyncio.create_task(command(key)) for key in range(number)]
            for done in (60, 180):
                async with asyncio.timeout(60):
                    while sum(each.done() for each in commands) < done:
                        await asyncio.sleep(0.005)
                process.kill()
                await asyncio.to_thread(process.start)
            async with asyncio.timeout(60):
                await asyncio.gather(*commands)
                await following

    assert [position for position, _ in seen] == list(range(1, number + 1))
    assert {stream for _, stream in seen} == {f"note-{key}" for key in range(number)}


async def test_the_end_of_a_server_lets_streams_go_and_exits_well(tmp_path: Path) -> None:
    with ServerProcess(f"sqlite:///{tmp_path}/bank.db", tmp_path) as process:
        async with Client(app, process.url) as client:
            await client.execute(TakeNote(note_id="1", text="x"))
            stream = client.subscribe()
            first = await anext(stream)
            code = await asyncio.to_thread(process.end)
            await stream.aclose()  # type: ignore[attr-defined]  # it is a generator

    assert (first.position, code) == (1, 0)
    assert "Traceback" not in process.log
