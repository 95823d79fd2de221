"""What a rebuild would change, over HTTP; and orders to one that is not there."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import httpx
import pytest

from refold.folds.read_model import ReadModelDefinition, read_model_of
from refold.messages.recorded import from_microseconds
from refold.projections.rebuild_under_way import running_rebuild
from refold.projections.sink import Sink
from refold.server import Server
from tests.server.domain import AccountSummary, OpenAccount


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


BASE = "/operations/projections/account_summary"
ELSEWHERE = "host:7:abc"
SUMMARY = read_model_of(AccountSummary)


def why_under_way(answer: httpx.Response, *words: str) -> str:
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "under-way"), problem
    assert all(word in problem["detail"] for word in words), problem["detail"]
    return str(problem["detail"])


async def refused(api: httpx.AsyncClient, *words: str) -> list[str]:
    """Neither a rebuild nor a comparison begins, and why is said at once."""
    return [why_under_way(await api.post(f"{BASE}/{word}", json={}), *words) for word in ("rebuild", "compare")]


async def test_a_rebuild_in_another_process_is_told_at_once(server: Server, api: httpx.AsyncClient) -> None:
    sink = (await server.context()).projections.sink
    before = time.monotonic()
    begun = await sink.begin(SUMMARY, f"{ELSEWHERE}:rebuild:1", 60)
    assert begun is not None
    since = from_microseconds(begun.epoch).isoformat(timespec="seconds")
    for told in await refused(api, f"by {ELSEWHERE} since {since}", "refold rebuild account_summary --cancel"):
        (left,) = re.findall(r"it can be begun again in (\d+) s$", told)
        assert 60 - (time.monotonic() - before) <= int(left) <= 60
    assert (await api.get("/operations/jobs")).json()["jobs"] == []
    await sink.claim(begun.name, "cancel:ann", 60, force=True)
    await refused(api, "being ended by ann; try again")
    await sink.claim(begun.name, ELSEWHERE, -1, force=True)  # it was killed, and its time is over
    again = await api.post(f"{BASE}/rebuild", json={})
    assert (await ended(api, again.json()))["state"] == "done"


async def test_a_paused_rebuild_is_told_at_once_whether_its_process_lives_or_not(
    server: Server, api: httpx.AsyncClient
) -> None:
    sink = (await server.context()).projections.sink
    begun = await sink.begin(SUMMARY, f"{ELSEWHERE}:rebuild:1", 60)
    assert begun is not None
    paused = await api.post(f"{BASE}/rebuild/pause", json={"reason": "it is noon"})
    assert paused.json() == {"changed": True}
    for seconds in (60, -1):
        await sink.renew(begun.name, begun.epoch, seconds)
        await refused(api, "paused by", "it is noon", "refold rebuild account_summary --resume", "--cancel")
    assert (await api.post(f"{BASE}/rebuild/resume", json={})).json() == {"changed": True}
    again = await api.post(f"{BASE}/rebuild", json={})
    assert (await ended(api, again.json()))["state"] == "done"


async def test_a_job_of_this_process_is_told_with_who_began_it(server: Server, api: httpx.AsyncClient) -> None:
    begun = asyncio.Event()

    async def work(job: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    job = server.jobs.begin("compare", "account_summary", "ann", work)
    await begun.wait()
    await refused(api, "compare of account_summary was begun by ann at", job.id)
    other = await api.post("/operations/projections/deposits_per_day/rebuild", json={})
    assert (await ended(api, other.json()))["state"] == "done"


async def test_of_two_that_begin_at_the_same_moment_one_may_fail_and_says_why(
    server: Server, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = (await server.context()).projections.sink
    looked = running_rebuild

    async def just_too_early(sink: Sink, definition: ReadModelDefinition) -> str:
        found = await looked(sink, definition)
        assert await sink.begin(definition, f"{ELSEWHERE}:rebuild:1", 60)
        return found

    monkeypatch.setattr("refold.server.api.operators.running_rebuild", just_too_early)
    begun = await api.post(f"{BASE}/rebuild", json={})
    assert begun.status_code == 202
    while (held := await sink.holder("account_summary__building")) is None:
        await asyncio.sleep(0.01)
    job = begun.json()
    while job["state"] == "running":  # it sees that the other one lives as soon as that keeps its lease
        await sink.renew("account_summary__building", held.epoch, 60)
        await asyncio.sleep(0.01)
        job = (await api.get(f"/operations/jobs/{job['id']}")).json()
    assert (job["state"], "being rebuilt by another process" in job["problem"]) == ("failed", True)


async def test_the_document_of_the_api_says_so(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    for word in ("rebuild", "compare"):
        answers = paths[f"/operations/projections/{{name}}/{word}"]["post"]["responses"]
        assert "`under-way`" in answers["409"]["description"]


async def test_an_order_to_a_rebuild_that_is_not_there(api: httpx.AsyncClient) -> None:
    base = "/operations/projections/account_summary/rebuild"
    pause = await api.post(f"{base}/pause", json={"reason": "why not"})
    assert (pause.status_code, pause.json()["code"]) == (503, "stopped")
    for word in ("resume", "cancel"):
        assert (await api.post(f"{base}/{word}", json={})).json() == {"changed": False}
    missing = await api.post("/operations/projections/nothing/compare", json={})
    assert missing.status_code == 404
