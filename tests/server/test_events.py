"""Streams, the log and states over HTTP."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from refold.operations import log_search
from refold.server import Server
from tests.server.domain import Address, DepositMoney, OpenAccount, Relabel, TakeNote, WithdrawMoney


@pytest.fixture
async def told(server: Server) -> Server:
    """Two accounts and a note, by two people, in two conversations."""
    context = await server.context()
    await context.execute(
        OpenAccount(account_id="1", owner="alice", address=Address("Main")), actor="alice", correlation_id="talk"
    )
    await context.execute(DepositMoney(account_id="1", amount=Decimal(5)), actor="bob", correlation_id="talk")
    await context.execute(TakeNote(note_id="n", text='Wörld "quoted" <b>'), actor="bob")
    await context.execute(WithdrawMoney(account_id="1", amount=Decimal(2)), actor="alice")
    await context.execute(Relabel(account_id="1", labels=["x", "y"]), actor="bob")
    return server


async def positions(api: httpx.AsyncClient, **query: Any) -> list[int]:
    answer = await api.get("/events", params=query)
    assert answer.status_code == 200, answer.text
    return [event["position"] for event in answer.json()["events"]]


async def test_a_stream_forward_and_backward_page_by_page(told: Server, api: httpx.AsyncClient) -> None:
    first = (await api.get("/streams/account-1", params={"limit": 3})).json()
    rest = (await api.get("/streams/account-1", params={"after": first["next"]})).json()
    back = (await api.get("/streams/account-1", params={"backward": "true", "limit": 2})).json()
    further = (await api.get("/streams/account-1", params={"backward": "true", "after": back["next"]})).json()

    assert [event["version"] for event in first["events"] + rest["events"]] == [1, 2, 3, 4]
    assert (rest["next"], first["version"]) == (None, 4)
    assert [event["version"] for event in back["events"] + further["events"]] == [4, 3, 2, 1]


async def test_there_is_no_such_stream(api: httpx.AsyncClient) -> None:
    answer = await api.get("/streams/account-none")

    assert answer.status_code == 404


async def test_streams_are_listed_page_by_page(told: Server, api: httpx.AsyncClient) -> None:
    first = (await api.get("/streams", params={"limit": 1})).json()
    second = (await api.get("/streams", params={"after": first["next"]})).json()
    notes = (await api.get("/streams", params={"category": "note"})).json()

    assert [each["stream"] for each in first["streams"] + second["streams"]] == ["account-1", "note-n"]
    assert [each["stream"] for each in notes["streams"]] == ["note-n"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"after": 2, "limit": 2}, [3, 4]),
        ({"backward": "true", "limit": 2}, [5, 4]),
        ({"backward": "true", "after": 3}, [2, 1]),
        ({"backward": "true", "after": 1}, []),
        ({"after": 5}, []),
        ({"type": ["MoneyDeposited", "MoneyWithdrawn"]}, [2, 4]),
        ({"category": "note"}, [3]),
        ({"tag": "payer:alice"}, [2]),
        ({"actor": "bob"}, [2, 3, 5]),
        ({"actor": "bob", "backward": "true", "limit": 2}, [5, 3]),
        ({"actor": "bo"}, []),
        ({"correlation_id": "talk"}, [1, 2]),
        ({"text": "WöRLD"}, [3]),
        ({"text": "WÖRLD"}, []),  # only the letters of ASCII have no case
        ({"text": "wörld"}, [3]),
        ({"text": '"QUOTED" <b>'}, [3]),
        ({"actor": "bob", "text": "LABELS"}, [5]),
    ],
)
async def test_the_log_filtered(told: Server, api: httpx.AsyncClient, query: dict[str, Any], found: list[int]) -> None:
    assert await positions(api, **query) == found


async def test_the_log_by_time(told: Server, api: httpx.AsyncClient) -> None:
    events = (await api.get("/events")).json()["events"]
    third = events[2]["recorded_at"]
    since = [event["position"] for event in events if event["recorded_at"] >= third]

    assert await positions(api, since=third) == since
    assert await positions(api, until=third) == [p for p in range(1, 6) if p not in since]
    assert await positions(api, since=third, backward="true") == since[::-1]
    assert await positions(api, until=third, backward="true", actor="bob") == [2]
    assert await positions(api, since="2999-01-01T00:00:00Z") == []
    assert await positions(api, until="1999-01-01T00:00:00Z", backward="true") == []


async def test_a_search_that_takes_too_long_answers_with_what_it_has(
    told: Server, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_search, "_PAGE", 1)
    monkeypatch.setattr(log_search, "_SECONDS", 0.0)
    found: list[int] = []
    following: int | None = 0
    pages = 0
    while following is not None:
        page = (await api.get("/events", params={"actor": "bob", "after": following})).json()
        found += [event["position"] for event in page["events"]]
        following, pages = page["next"], pages + 1

    assert found == [2, 3, 5]
    assert pages > 1


async def test_one_event_and_those_of_its_conversation(told: Server, api: httpx.AsyncClient) -> None:
    event = (await api.get("/events/2")).json()
    related = (await api.get("/events/2/related")).json()

    assert event["event"]["payload"] == {"amount": "5", "payer": "alice"}
    assert event["today"] == event["event"]["payload"]
    assert [each["position"] for each in related["events"]] == [1, 2]
    assert related["complete"]
    assert [(await api.get(f"/events/{position}")).status_code for position in (0, 6, 99)] == [404] * 3
    assert (await api.get("/events/x")).status_code == 422


async def test_the_state_now_and_then(told: Server, api: httpx.AsyncClient) -> None:
    now = (await api.get("/aggregates/account/1")).json()
    then = (await api.get("/aggregates/account/1", params={"at_version": 2})).json()
    at_position = (await api.get("/aggregates/account/1", params={"at_position": 3})).json()
    at_time = (await api.get("/aggregates/account/1", params={"as_of": then["recorded_at"]})).json()

    assert (now["version"], now["state"]["balance"], now["state"]["labels"]) == (4, "3", ["x", "y"])
    assert (then["version"], then["newest_version"], then["state"]["balance"]) == (2, 4, "5")
    assert at_position["version"] == 2
    assert at_time["version"] >= 2
    assert (await api.get("/aggregates/account/none")).status_code == 404
    assert (await api.get("/aggregates/account/1", params={"at_version": 1, "at_position": 1})).status_code == 422


async def test_what_is_different_and_why_it_is_so(told: Server, api: httpx.AsyncClient) -> None:
    difference = (await api.get("/aggregates/account/1/difference", params={"from": 1, "to": 3})).json()
    why = (await api.get("/aggregates/account/1/changes", params={"field": "balance"})).json()
    rest = (await api.get("/aggregates/account/1/changes", params={"after": 2, "limit": 1})).json()
    nested = (await api.get("/aggregates/account/1/changes", params={"field": "address.city"})).json()
    nothing = (await api.get("/aggregates/account/1/changes", params={"field": "address.planet"})).json()
    label = (await api.get("/aggregates/account/1/changes", params={"field": "labels.1"})).json()

    assert difference["changes"] == [{"field": "balance", "before": "0", "after": "3"}]
    assert [(step["event"]["version"], step["event"]["metadata"]["actor"]) for step in why["steps"]] == [
        (2, "bob"),
        (3, "alice"),
    ]
    assert why["steps"][1]["changes"] == [{"field": "balance", "before": "5", "after": "3"}]
    assert ([step["event"]["version"] for step in rest["steps"]], rest["next"]) == ([3], 3)
    # The first event set the whole address, which is why its city is what it is.
    assert [step["event"]["version"] for step in nested["steps"]] == [1]
    assert nothing["steps"] == []
    assert [step["event"]["version"] for step in label["steps"]] == [4]


async def test_ids_that_hold_anything(server: Server, api: httpx.AsyncClient) -> None:
    context = await server.context()
    for key in ("a/b", "50%", "ž ý", "-", "a-b"):
        await context.execute(OpenAccount(account_id=key, owner=key))
        escaped = quote(key, safe="")
        assert (await api.get(f"/aggregates/account/{escaped}")).json()["state"]["owner"] == key
        assert (await api.get(f"/streams/account-{escaped}")).json()["stream"] == f"account-{key}"


async def test_times_are_as_they_were_recorded(told: Server, api: httpx.AsyncClient) -> None:
    context = await told.context()
    (stored, *_) = await context.history("account-1")
    document = (await api.get("/events/1")).json()["event"]

    assert document["recorded_at"] == stored.timestamp.isoformat().replace("+00:00", "Z")
    assert stored.timestamp - stored.occurred_at == timedelta(0)
    assert document["event_id"] == str(stored.event_id)


@pytest.mark.parametrize(
    "path",
    [
        "/events?text=%00", "/events?tag=a%00", "/events?type=%00", "/events?category=%00", "/streams?after=%00",
        "/events/export.csv?stream=%00", "/events/export.jsonl?type=%00", "/operations/snapshots?after=%00",
        "/read-models/account_summary/rows?cursor=%00",
    ],
)  # fmt: skip
async def test_what_holds_a_nul_is_refused_before_it_is_asked(told: Server, api: httpx.AsyncClient, path: str) -> None:
    """Postgres does not take it: an export ended in the middle, and the refusal of the others named the database."""
    answer = await api.get(path)

    assert (answer.status_code, answer.json()["field"]) == (422, path.partition("?")[2].partition("=")[0])
    assert "holds a NUL" in answer.json()["detail"]


async def test_a_key_that_is_not_utf8_is_no_other_key(told: Server, api: httpx.AsyncClient) -> None:
    context = await told.context()
    await context.execute(OpenAccount(account_id="\N{REPLACEMENT CHARACTER}", owner="eve"))

    answer = await api.get("/aggregates/account/%ff")

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_a_plus_that_became_a_space_is_explained(api: httpx.AsyncClient) -> None:
    answer = await api.get("/events?since=2026-01-15T00:00:00+01:00")

    assert (answer.status_code, answer.json()["field"]) == (422, "$.since")
    assert "write %2B" in answer.json()["detail"]
