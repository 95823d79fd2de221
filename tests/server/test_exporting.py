"""What is given away as CSV and JSON Lines, how it goes, and what there is."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

import httpx
import pytest

from refold.server import Server
from refold.server.api.exporting import harmless


async def done(api: httpx.AsyncClient, name: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await api.post(f"/commands/{name}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


def rows_of(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_events_are_exported_as_they_stand_in_the_log(api: httpx.AsyncClient) -> None:
    for number in range(700):  # more than a page
        await done(api, "TakeNote", {"note_id": f"{number % 7}", "text": f"note {number}"})
    rows = rows_of(await api.get("/events/export.csv"))
    assert [json.loads(row["payload"])["text"] for row in rows] == [f"note {number}" for number in range(700)]
    assert [int(row["position"]) for row in rows] == list(range(1, 701))
    lines = (await api.get("/events/export.jsonl")).text.splitlines()
    assert [json.loads(line)["payload"]["text"] for line in lines] == [f"note {number}" for number in range(700)]


async def test_an_export_is_filtered_as_the_log_is(api: httpx.AsyncClient) -> None:
    await done(api, "OpenAccount", {"account_id": "1", "owner": "a"}, **{"Refold-Correlation-Id": "talk"})
    await done(api, "DepositMoney", {"account_id": "1", "amount": "5"})
    await done(api, "TakeNote", {"note_id": "1", "text": "needle"})
    moment = (await api.get("/events/2")).json()["event"]["recorded_at"]
    me = (await api.get("/me")).json()["name"]
    for query, positions in (
        ({}, [1, 2, 3]),
        ({"stream": "account-1"}, [1, 2]),
        ({"stream": "account-1", "type": "MoneyDeposited"}, [2]),
        ({"stream": "account-1", "since": moment}, [2]),
        ({"stream": "account-1", "until": moment}, [1]),
        ({"stream": "account-1", "correlation_id": "talk"}, [1]),
        ({"stream": "account-1", "tag": "payer:a"}, [2]),
        ({"stream": "account-1", "text": "5"}, [2]),
        ({"stream": "account-1", "category": "note"}, []),
        ({"stream": "account-1", "actor": "somebody"}, []),
        ({"stream": "account-1", "actor": me}, [1, 2]),
        ({"category": "note"}, [3]),
        ({"text": "NEEDLE"}, [3]),
        ({"since": moment}, [2, 3]),
        ({"until": moment}, [1]),
        ({"actor": "somebody"}, []),
    ):
        rows = rows_of(await api.get("/events/export.csv", params=query))
        assert [int(row["position"]) for row in rows] == positions, query


async def test_operations_are_exported_with_their_reasons(api: httpx.AsyncClient) -> None:
    await api.post("/operations/projections/account_summary/pause", json={"reason": "=1+1"})
    await api.post("/operations/projections/account_summary/resume", json={"reason": 'enough, "really"'})
    rows = rows_of(await api.get("/operations/export.csv"))
    reasons = [row["reason"] for row in rows if row["operation"] in ("pause", "resume")]
    assert set(reasons) == {"'=1+1", 'enough, "really"'}
    lines = [json.loads(line) for line in (await api.get("/operations/export.jsonl")).text.splitlines()]
    assert {line["reason"] for line in lines} >= {"=1+1"}
    assert isinstance(lines[0]["details"], dict)
    assert rows_of(await api.get("/operations/export.csv", params={"actor": "nobody"})) == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", None, "1=1", "a", 5])
def test_other_cells_are_as_they_are(value: object) -> None:
    assert harmless(value) == ("" if value is None else str(value))


async def test_the_overview_has_samples_that_go_on(server: Server, api: httpx.AsyncClient) -> None:
    await done(api, "OpenAccount", {"account_id": "1", "owner": "a"})
    async with asyncio.timeout(20):
        while True:  # a look every two seconds
            answer = (await api.get("/operations/overview")).json()
            if answer["samples"] and answer["samples"][-1]["head"] == 1:
                break
            await asyncio.sleep(0.05)
    last = answer["samples"][-1]
    assert answer["status"]["head"] == 1
    assert set(last["positions"]) >= {"account_summary", "deposits_per_day"}
    assert [sample["number"] for sample in answer["samples"]] == list(range(1, last["number"] + 1))
    later = (await api.get("/operations/overview", params={"after": last["number"]})).json()["samples"]
    assert all(sample["number"] > last["number"] for sample in later)
    # A number of another life of the server gets all.
    again = (await api.get("/operations/overview", params={"after": 10_000})).json()["samples"]
    assert again[0]["number"] == 1


async def test_the_catalogue_names_categories_and_types(api: httpx.AsyncClient) -> None:
    found = (await api.get("/catalogue")).json()
    assert found["categories"] == ["account", "note"]
    assert [each["name"] for each in found["events"]] == [
        "AccountOpened", "MoneyDeposited", "MoneyWithdrawn", "NoteTaken", "Relabelled",
    ]  # fmt: skip


async def test_the_snapshot_of_a_stream(server: Server, api: httpx.AsyncClient) -> None:
    assert (await api.get("/operations/snapshots/account-1")).json() == {"snapshot": None}
    await done(api, "OpenAccount", {"account_id": "1", "owner": "a"})
    for _ in range(9):
        await done(api, "DepositMoney", {"account_id": "1", "amount": "5"})
    async with asyncio.timeout(20):
        while (found := (await api.get("/operations/snapshots/account-1")).json()["snapshot"]) is None:
            await asyncio.sleep(0.05)  # they are written behind the command's back
    assert found["stream"] == "account-1"
    assert 5 <= found["version"] <= 10
