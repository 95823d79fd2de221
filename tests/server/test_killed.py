"""A server killed while it rebuilds: its rows are read all the time, and the rebuild goes on where it was."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.domain import DepositMoney, app
from tests.server.process import ServerProcess

ACCOUNTS, EACH = 40, 500
PATH = "/operations/projections/account_summary/rebuild"


async def filled(url: str) -> None:
    async with app.connect(url, projections=False) as context:
        for _ in range(EACH):
            await context.execute_many([DepositMoney(account_id=str(n), amount=Decimal(1)) for n in range(ACCOUNTS)])


async def caught_up(api: httpx.AsyncClient) -> None:
    """Waits until the rows have seen all."""
    head = ACCOUNTS * EACH
    async with asyncio.timeout(60):
        while (await api.get("/read-models/account_summary/rows/0", headers={"Refold-After": str(head)})).is_error:
            pass


async def until_begun(api: httpx.AsyncClient, job: str) -> None:
    """Waits until a part is folded, and not all."""
    async with asyncio.timeout(60):
        while not (await api.get(f"/operations/jobs/{job}")).json()["done"]:
            await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_a_rebuild_that_is_killed_is_done_again_and_nobody_notices(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bank.db"
    await filled(url)
    with ServerProcess(url, tmp_path) as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=30) as api:
            await caught_up(api)
            begun = (await api.post(PATH, json={})).json()
            await until_begun(api, begun["id"])
            process.kill()
        await asyncio.to_thread(process.start)
        async with httpx.AsyncClient(base_url=process.url, timeout=30) as api:
            row = (await api.get("/read-models/account_summary/rows/7")).json()
            lost = await api.get(f"/operations/jobs/{begun['id']}")
            again = (await api.post(PATH, json={})).json()
            checked = await ended(api, again["id"])
            verified = await ended(api, (await api.post("/operations/verify", json={"online": False})).json()["id"])

    assert (row["balance"], row["movements"]) == (str(EACH), EACH)
    assert lost.status_code == 404
    assert (checked["state"], verified["result"]["ok"]) == ("done", True)


async def ended(api: httpx.AsyncClient, job: str) -> dict[str, Any]:
    """The job, when it is over."""
    async with asyncio.timeout(120):
        while (found := (await api.get(f"/operations/jobs/{job}")).json())["state"] == "running":
            await asyncio.sleep(0.02)
    return dict(found)
