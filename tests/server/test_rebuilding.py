"""What a rebuild would change, over HTTP; and orders to one that is not there."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from refold.server import Server
from tests.server.domain import OpenAccount


async def ended(api: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while job["state"] == "running":
            await asyncio.sleep(0.02)
            job = (await api.get(f"/operations/jobs/{job['id']}")).json()
    return job


async def test_a_comparison_says_which_rows_would_change_and_switches_nothing(
    server: Server, api: httpx.AsyncClient
) -> None:
    context = await server.context()
    receipt = await context.execute(OpenAccount(account_id="1", owner="a"))
    await api.get("/read-models/account_summary/count", headers={"Refold-After": str(receipt.position)})
    begun = await api.post("/operations/projections/account_summary/compare", json={})
    assert begun.status_code == 202
    assert begun.headers["location"].endswith(begun.json()["id"])
    job = await ended(api, begun.json())
    assert (job["state"], job["kind"], job["problem"]) == ("done", "compare", "")
    assert (job["result"]["same"], job["result"]["rows"]) == (1, [])
    names = [each["name"] for each in (await api.get("/operations/status")).json()["projections"]]
    assert "account_summary__building" not in names


async def test_an_order_to_a_rebuild_that_is_not_there(api: httpx.AsyncClient) -> None:
    base = "/operations/projections/account_summary/rebuild"
    pause = await api.post(f"{base}/pause", json={"reason": "why not"})
    assert (pause.status_code, pause.json()["code"]) == (503, "stopped")
    for word in ("resume", "cancel"):
        assert (await api.post(f"{base}/{word}", json={})).json() == {"changed": False}
    missing = await api.post("/operations/projections/nothing/compare", json={})
    assert missing.status_code == 404
