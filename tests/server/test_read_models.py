"""Read models over HTTP: by key, filtered, page by page, not older than a receipt, and as they were."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from refold.server import Server
from tests.server.domain import Address, DepositMoney, OpenAccount

KEYS = ["1", "a/b", "50%", "ž ý", "a?b#c", "..", "%2F", "a,b", "+"]


async def opened(server: Server, *keys: str, city: str | None = None) -> None:
    context = await server.context()
    for number, key in enumerate(keys):
        address = None if city is None else Address("Main", city)
        await context.execute(OpenAccount(account_id=key, owner=f"owner {number}", address=address))
        await context.execute(DepositMoney(account_id=key, amount=Decimal(100 * (number % 3) + 1)))


async def head(server: Server) -> dict[str, str]:
    context = await server.context()
    return {"Refold-After": str((await context.store.head()).position)}


async def test_a_row_by_its_key_whatever_that_holds(server: Server, api: httpx.AsyncClient) -> None:
    await opened(server, *KEYS)
    after = await head(server)
    for number, key in enumerate(KEYS):
        escaped = quote(key, safe="").replace(".", "%2E")
        answer = await api.get(f"/read-models/account_summary/rows/{escaped}", headers=after)
        assert answer.status_code == 200, answer.text
        assert answer.json()["account_id"] == key
        assert answer.json()["owner"] == f"owner {number}"


async def test_a_key_of_several_fields(server: Server, api: httpx.AsyncClient) -> None:
    await opened(server, "1")
    path = f"/read-models/deposits_per_day/rows/{quote('owner 0')}/2026-01-15"

    answer = await api.get(path, headers=await head(server))
    wrong = await api.get(f"/read-models/deposits_per_day/rows/{quote('owner 0')}/yesterday")

    assert answer.json() == {"owner": "owner 0", "day": "2026-01-15", "amount": "1"}
    assert (wrong.status_code, wrong.json()["field"]) == (422, "day")


async def test_no_such_row(api: httpx.AsyncClient) -> None:
    answer = await api.get("/read-models/account_summary/rows/none")

    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert answer.json()["instance"] == answer.request.url.raw_path.decode()


async def test_what_one_wrote_is_read_after_its_token(api: httpx.AsyncClient) -> None:
    for number in range(20):
        done = await api.post("/commands/OpenAccount", json={"account_id": str(number), "owner": "a"})
        row = await api.get(
            f"/read-models/account_summary/rows/{number}", headers={"Refold-After": done.headers["Refold-Position"]}
        )
        assert row.status_code == 200


async def test_a_token_that_is_not_reached_in_time_is_stale_and_one_beyond_the_log_is_ahead(
    store_url: str, server: Server, api: httpx.AsyncClient
) -> None:
    await opened(server, "1")
    context = await server.context()
    await context.projections.stop()
    await context.execute(DepositMoney(account_id="1", amount=Decimal(1)))
    position = (await context.store.head()).position
    path = "/read-models/account_summary/rows/1"

    stale = await api.get(path, headers={"Refold-After": str(position), "Prefer": "wait=0"})
    ahead = await api.get(path, headers={"Refold-After": str(position + 5), "Prefer": "wait=0"})
    fresh = await api.get(path, params={"fresh": "true"})

    assert (stale.status_code, stale.json()["code"]) == (504, "stale")
    assert (ahead.status_code, ahead.json()["code"]) == (412, "ahead")
    assert fresh.json()["movements"] == 2


@pytest.mark.parametrize("token", ["", "x", "-1", "1.5", "9" * 30])
async def test_what_is_no_token_is_refused(api: httpx.AsyncClient, token: str) -> None:
    answer = await api.get("/read-models/account_summary/rows/1", headers={"Refold-After": token})

    assert (answer.status_code, answer.json()["field"]) == (422, "Refold-After")


async def test_what_has_not_changed_is_not_sent_again(server: Server, api: httpx.AsyncClient) -> None:
    await opened(server, "1")
    path = "/read-models/account_summary/rows/1"
    first = await api.get(path, headers=await head(server))
    again = await api.get(path, headers={"If-None-Match": f'W/"other", {first.headers["ETag"]}'})
    await (await server.context()).execute(DepositMoney(account_id="1", amount=Decimal(1)))
    whichever = await api.get(path, headers={"If-None-Match": "*"})
    changed = await api.get(path, headers={"If-None-Match": first.headers["ETag"], **await head(server)})

    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200
    assert whichever.status_code == 304  # of what is there, any will do


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"owner": "owner 1"}, {"1"}),
        ({"balance.ge": "101"}, {"1", "2", "4"}),
        ({"balance.gt": "101", "movements": "1"}, {"2"}),
        ({"kind": "large"}, set()),
        ({"kind.ne": "large", "account_id.in": ["0", "3", "9"]}, {"0", "3"}),
        ({"city.is_none": "true"}, {"0", "1", "2", "3", "4"}),
        ({"owner.starts_with": "owner", "owner.contains": "3"}, {"3"}),
        ({"where.limit": "0", "account_id.lt": "1"}, {"0"}),
    ],
)
async def test_rows_that_fulfil_conditions(
    server: Server, api: httpx.AsyncClient, query: dict[str, Any], found: set[str]
) -> None:
    await opened(server, *"01234")
    after = await head(server)
    rows = (await api.get("/read-models/account_summary/rows", params=query, headers=after)).json()["rows"]
    number = (await api.get("/read-models/account_summary/count", params=query, headers=after)).json()["count"]

    assert {row["account_id"] for row in rows} == found
    assert number == len(found)


@pytest.mark.parametrize(
    "query",
    [
        {"nothing": "1"},
        {"balance": "much"},
        {"limit": "0"},
        {"limit": "1001"},
        {"order_by": "nothing"},
        {"kind": "medium"},
        {"cursor": "nonsense"},
        {"cursor": "AAAA"},
        {"balance.ge": ["1", "2"]},
        {"movements": "9" * 40},
    ],
)
async def test_a_list_that_cannot_be_given_is_refused(api: httpx.AsyncClient, query: dict[str, Any]) -> None:
    answer = await api.get("/read-models/account_summary/rows", params=query)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("order", [[], ["-balance"], ["city", "-balance"], ["-city"], ["kind", "owner"]])
async def test_pages_hold_every_row_once_in_order(server: Server, api: httpx.AsyncClient, order: list[str]) -> None:
    await opened(server, *"abcde")
    await opened(server, *"fghij", city="Brno")
    await opened(server, *"kl", city="Aš")
    after = await head(server)
    path = "/read-models/account_summary/rows"
    whole = (await api.get(path, params={"order_by": order, "limit": 100}, headers=after)).json()
    paged: list[Any] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        query: dict[str, Any] = {"order_by": order, "limit": 5, **({"cursor": cursor} if cursor else {})}
        page = (await api.get(path, params=query)).json()
        paged += page["rows"]
        cursor, pages = page["next"], pages + 1

    assert whole["next"] is None
    assert len(whole["rows"]) == 12
    assert (paged, pages) == (whole["rows"], 3)


async def test_a_cursor_of_another_order_is_refused(server: Server, api: httpx.AsyncClient) -> None:
    await opened(server, *"abc")
    path = "/read-models/account_summary/rows"
    page = (await api.get(path, params={"limit": 1}, headers=await head(server))).json()

    answer = await api.get(path, params={"limit": 1, "cursor": page["next"], "order_by": "-balance"})

    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


async def test_a_row_as_it_was_and_the_events_behind_it(server: Server, api: httpx.AsyncClient) -> None:
    await opened(server, "1", "2")
    context = await server.context()
    receipt = await context.execute(DepositMoney(account_id="1", amount=Decimal(50)))
    path = "/read-models/account_summary/rows/1"

    before = await api.get(path, params={"at_position": 2})
    none_yet = await api.get(path, params={"at_position": 0})
    at_time = await api.get(path, params={"as_of": receipt.timestamp.isoformat()})
    beyond = await api.get(path, params={"at_position": 99})
    behind = (await api.get(f"{path}/events", params={"limit": 2})).json()
    rest = (await api.get(f"{path}/events", params={"after": behind["next"]})).json()

    assert before.json()["balance"] == "1"
    assert none_yet.status_code == 404
    assert at_time.json()["balance"] == "51"
    assert beyond.status_code == 412
    assert [event["version"] for event in behind["events"] + rest["events"]] == [1, 2, 3]
    assert {event["stream"] for event in behind["events"] + rest["events"]} == {"account-1"}
    assert rest["next"] is None


async def test_a_naive_moment_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.get("/read-models/account_summary/rows/1", params={"as_of": "2026-01-15T00:00:00"})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_full_text_is_refused_where_there_is_none(api: httpx.AsyncClient) -> None:
    answer = await api.get("/read-models/account_summary/search", params={"text": "alice"})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
