"""Commands over HTTP: done once, refused with a reason, and never half."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from refold.errors import Conflict, Overloaded
from refold.server import Server
from tests.server.conftest import calling
from tests.server.domain import Account, app

PROBLEM = "application/problem+json"


async def post(api: httpx.AsyncClient, name: str, /, **fields: Any) -> httpx.Response:
    return await api.post(f"/commands/{name}", json=fields)


async def test_a_command_answers_with_its_receipt_and_a_token(api: httpx.AsyncClient) -> None:
    answer = await post(api, "OpenAccount", account_id="42", owner="alice")

    assert answer.status_code == 200
    receipt = answer.json()
    assert (receipt["stream"], receipt["version"], receipt["position"]) == ("account-42", 1, 1)
    assert receipt["events"] == [{"type": "AccountOpened", "payload": {"owner": "alice", "address": None}}]
    assert answer.headers["Refold-Position"] == receipt["token"] == "1"


async def test_the_actor_is_whoever_was_recognised_never_a_header(server: Server, api: httpx.AsyncClient) -> None:
    await api.post(
        "/commands/OpenAccount", json={"account_id": "42", "owner": "alice"}, headers={"Refold-Actor": "mallory"}
    )

    (event,) = await (await server.context()).history("account-42")
    assert event.metadata.actor not in (None, "mallory")


async def test_the_same_idempotency_key_gives_the_first_receipt(api: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "deposit-1"}
    body = {"account_id": "42", "amount": "5"}
    answers = await asyncio.gather(*(api.post("/commands/DepositMoney", json=body, headers=key) for _ in range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert (await api.get("/events")).json()["head"] == 1


async def test_an_idempotency_key_of_another_command_is_refused(api: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "mine"}
    await api.post("/commands/DepositMoney", json={"account_id": "42", "amount": "5"}, headers=key)

    again = await api.post("/commands/OpenAccount", json={"account_id": "42", "owner": "a"}, headers=key)

    assert (again.status_code, again.json()["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize("key", [b"", b"two words", b"x" * 201, "žluť".encode()])
async def test_a_key_that_no_command_can_have_is_refused(api: httpx.AsyncClient, key: bytes) -> None:
    answer = await api.post(
        "/commands/DepositMoney", json={"account_id": "42", "amount": "5"}, headers=[(b"Idempotency-Key", key)]
    )

    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


@pytest.mark.parametrize(
    ("command", "fields", "status", "code"),
    [
        ("WithdrawMoney", {"amount": "5"}, 403, "rejected-forbidden"),
        ("DepositMoney", {"amount": "-5"}, 422, "rejected-invalid"),
    ],
)
async def test_the_domain_says_how_it_refuses(
    api: httpx.AsyncClient, command: str, fields: dict[str, str], status: int, code: str
) -> None:
    answer = await post(api, command, account_id="42", **fields)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == PROBLEM


async def test_what_the_domain_refuses_is_a_conflict_with_its_reason(api: httpx.AsyncClient) -> None:
    await post(api, "OpenAccount", account_id="42", owner="alice")

    answer = await post(api, "OpenAccount", account_id="42", owner="bob")

    assert (answer.status_code, answer.json()["code"]) == (409, "rejected")
    assert answer.json()["detail"] == "this account is open already"


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b'{"account_id":"42","amount":"much"}', 422, "invalid", "$.amount"),
        (b'{"account_id":"42"}', 422, "invalid", None),
        (b'{"account_id":"42","amount":"1","tip":2}', 422, "invalid", None),
        (b'{"account_id":"","amount":"1"}', 422, "invalid", None),
        (b'{"account_id":"42","amount":"1","on":"2026-01-01T00:00:00"}', 422, "invalid", None),
        (b'{"account_id":"a\\u0000b","amount":"1"}', 422, "invalid", None),
        (b'{"account_id":', 400, "malformed", None),
        (b"", 400, "malformed", None),
        (b"\xff\xfe", 400, "malformed", None),
        (b"[" * 100_000, 422, "invalid", None),
    ],
)
async def test_a_body_that_does_not_fit_says_which_field(
    api: httpx.AsyncClient, body: bytes, status: int, code: str, field: str | None
) -> None:
    answer = await api.post("/commands/DepositMoney", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().get("field") == field
    assert (await api.get("/events")).json()["head"] == 0


async def test_a_body_of_another_type_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.post("/commands/DepositMoney", content=b"{}", headers={"Content-Type": "text/plain"})

    assert answer.status_code == 415


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server, api: httpx.AsyncClient) -> None:
    large = b" " * (server.bounds.body + 1)

    async def in_pieces() -> Any:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    kind = {"Content-Type": "application/json"}
    at_once = await api.post("/commands/DepositMoney", content=large, headers=kind)
    chunked = await api.post("/commands/DepositMoney", content=in_pieces(), headers=kind)

    assert (at_once.status_code, chunked.status_code) == (413, 413)


async def test_a_dry_run_says_what_would_happen_and_does_nothing(api: httpx.AsyncClient) -> None:
    await post(api, "OpenAccount", account_id="42", owner="alice")

    answer = await api.post("/commands/DepositMoney/dry-run", json={"account_id": "42", "amount": "5"})
    refused = await api.post("/commands/WithdrawMoney/dry-run", json={"account_id": "42", "amount": "5"})

    assert answer.json() == {
        "stream": "account-42",
        "version": 1,
        "events": [{"type": "MoneyDeposited", "payload": {"amount": "5", "payer": "alice"}}],
    }
    assert (refused.status_code, refused.json()["detail"]) == (409, "only 0 is there")
    assert (await api.get("/events")).json()["head"] == 1


async def test_a_command_that_changes_nothing_has_a_receipt_too(api: httpx.AsyncClient) -> None:
    await post(api, "Relabel", account_id="42", labels=["a"])

    answer = await post(api, "Relabel", account_id="42", labels=["a"])

    assert (answer.status_code, answer.json()["events"]) == (200, [])


async def test_correlation_and_causation_go_into_the_metadata(server: Server, api: httpx.AsyncClient) -> None:
    headers = {"Refold-Correlation-Id": "talk-1", "Refold-Causation-Id": "mail-7"}
    await api.post("/commands/OpenAccount", json={"account_id": "42", "owner": "a"}, headers=headers)

    (event,) = await (await server.context()).history("account-42")
    assert (event.metadata.correlation_id, event.metadata.causation_id) == ("talk-1", "mail-7")


async def test_every_command_is_listed_with_its_schema(api: httpx.AsyncClient) -> None:
    commands = {each["name"]: each for each in (await api.get("/commands")).json()["commands"]}

    assert set(commands) == {"OpenAccount", "DepositMoney", "WithdrawMoney", "Relabel", "TakeNote"}
    assert commands["OpenAccount"]["description"] == "Open an account for its owner."
    assert commands["OpenAccount"]["id_field"] == "account_id"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(Conflict("account-42", 1, 2), 409, "conflict"), (Overloaded("the queue is full"), 503, "overloaded")],
)
async def test_what_the_store_says_becomes_a_problem(
    server: Server, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(await server.context(), "execute", fails)
    answer = await post(api, "OpenAccount", account_id="42", owner="alice")

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_what_nobody_expected_shows_nothing_of_the_inside(
    server: Server, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(await server.context(), "execute", fails)
    answer = await post(api, "OpenAccount", account_id="42", owner="alice")

    assert answer.status_code == 500
    assert "secret" not in answer.text


async def test_a_mounted_server_opens_its_store_with_the_first_request() -> None:
    server = Server(app, "sqlite:///:memory:")
    async with calling(server) as client:
        answer = await post(client, "OpenAccount", account_id="42", owner="alice")
    state = await (await server.context()).load(Account, "42")
    await server.close()

    assert (answer.status_code, state.owner) == (200, "alice")
