"""What operators do over HTTP: all of it is done, and kept with who did it."""

from __future__ import annotations

import asyncio
import getpass
from decimal import Decimal
from typing import Any

import httpx
import pytest

from refold import Aggregate, App, Command, Event, ReadModel, decide, evolve
from refold.projections.handwritten import ProjectionPage
from refold.server import Server
from refold.server.security.identity import Access, Role
from tests.server.conftest import calling
from tests.server.domain import DepositMoney, OpenAccount

ME = getpass.getuser()


async def finished(api: httpx.AsyncClient, begun: httpx.Response) -> dict[str, Any]:
    assert begun.status_code == 202, begun.text
    path = begun.headers["Location"]
    assert path == f"/operations/jobs/{begun.json()['id']}"
    while (job := (await api.get(path)).json())["state"] == "running":
        await asyncio.sleep(0.01)
    return dict(job)


async def done(api: httpx.AsyncClient) -> list[tuple[str, str, str, str]]:
    found = (await api.get("/operations/log")).json()["operations"]
    return [(each["actor"], each["operation"], each["target"], each["reason"]) for each in found]


async def test_status_says_where_everything_stands(server: Server, api: httpx.AsyncClient) -> None:
    receipt = await (await server.context()).execute(OpenAccount(account_id="1", owner="a"))
    await api.get("/read-models/account_summary/rows/1", headers={"Refold-After": str(receipt.position)})

    status = (await api.get("/operations/status")).json()

    assert (status["head"], status["ok"]) == (1, True)
    names = {each["name"]: each for each in status["projections"]}
    assert {"account_summary", "deposits_per_day"} <= set(names)
    assert names["account_summary"]["position"] == 1


async def test_pause_and_resume(server: Server, api: httpx.AsyncClient) -> None:
    path = "/operations/projections/account_summary"
    paused = await api.post(f"{path}/pause", json={"reason": "migration"})
    again = await api.post(f"{path}/pause", json={})
    resumed = await api.post(f"{path}/resume", json={"reason": "over"})

    assert [answer.json() for answer in (paused, again, resumed)] == [
        {"changed": True},
        {"changed": False},
        {"changed": True},
    ]
    assert await done(api) == [
        (ME, "resume", "account_summary", "over"),
        (ME, "pause", "account_summary", "migration"),
    ]
    assert (await api.post("/operations/projections/nothing/pause", json={})).status_code == 404
    # No Postgres keeps a NUL.
    assert (await api.post(f"{path}/pause", json={"reason": "a\x00b"})).status_code == 422


async def test_a_hand_written_projection_is_paused_and_resumed(store_url: str) -> None:
    app = App("boxes", aggregates=[Box])

    @app.projection("mails")
    async def mails(page: ProjectionPage) -> None:
        pass

    async with Server(app, store_url) as server, calling(server) as api:
        path = "/operations/projections/mails"
        paused = await api.post(f"{path}/pause", json={"reason": "strike"})
        again = await api.post(f"{path}/pause", json={})
        resumed = await api.post(f"{path}/resume", json={})
        assert [answer.json()["changed"] for answer in (paused, again, resumed)] == [True, False, True]
        assert (await api.get("/catalogue")).json()["projections"] == ["mails"]
        nothing = await api.post(f"{path}/rebuild", json={})
        assert nothing.status_code == 404
        assert "written by hand" in nothing.json()["detail"]
        unknown = await api.post("/operations/projections/mail/pause", json={})
        assert "it has: none; written by hand: mails" in unknown.json()["detail"]


async def test_a_hand_written_projection_is_told_of_before_any_process_has_begun_it(store_url: str) -> None:
    """The console's page of it said that there is none, and did not look again."""
    app = App("boxes", aggregates=[Box])

    @app.projection("mails")
    async def mails(page: ProjectionPage) -> None:
        pass

    async with (
        app.connect(store_url, projections=False) as context,
        Server(app, context) as server,
        calling(server) as api,
    ):
        await context.execute(Put(box_id="a", value=1))
        status = (await api.get("/operations/status")).json()
    (told,) = status["projections"]
    assert (told["name"], told["state"], told["position"], told["lag"]) == ("mails", "no worker", 0, 1)
    assert status["ok"]


async def test_rebuild_rollback_and_refold(server: Server, api: httpx.AsyncClient) -> None:
    context = await server.context()
    for number in range(20):
        await context.execute(OpenAccount(account_id=str(number), owner="a"))
    job = await finished(api, await api.post("/operations/projections/account_summary/rebuild", json={}))
    row = await api.post("/operations/projections/account_summary/refold", json={"key": ["7"]})
    no_key = await api.post("/operations/projections/account_summary/refold", json={"key": ["7", "8"]})
    back = await api.post("/operations/projections/account_summary/rollback", json={})
    never = await api.post("/operations/projections/deposits_per_day/rollback", json={})

    assert (job["state"], job["result"], job["actor"]) == ("done", {"position": 20}, ME)
    assert row.json()["row"]["account_id"] == "7"
    assert no_key.status_code == 422
    assert (back.status_code, never.status_code) == (200, 503)
    assert [(actor, what, target) for actor, what, target, _ in await done(api)] == [
        (ME, "rollback", "deposits_per_day"),  # what came to nothing was tried, too
        (ME, "rollback", "account_summary"),
        (ME, "refold", "account_summary 7"),
        (ME, "rebuild", "account_summary"),
    ]


async def test_verify_finds_nothing_wrong(server: Server, api: httpx.AsyncClient) -> None:
    await (await server.context()).execute(OpenAccount(account_id="1", owner="a"))

    job = await finished(api, await api.post("/operations/verify", json={"online": False}))

    assert (job["state"], job["result"]["ok"]) == ("done", True)
    assert {check["name"] for check in job["result"]["checks"]} >= {"positions", "read model account_summary"}


async def test_every_deed_of_an_operator_is_kept_with_who_did_it(server: Server, api: httpx.AsyncClient) -> None:
    """Whatever an operator can do that changes something, or takes long: found from the operations themselves."""
    context = await server.context()
    for number in range(3):
        await context.execute(OpenAccount(account_id=str(number), owner="a"))
    await finished(api, await api.post("/operations/projections/account_summary/rebuild", json={}))
    deeds = [
        each
        for each in server.operations
        if isinstance(each.access, Access) and each.access.role is Role.OPERATOR and each.method != "GET"
    ]
    # What is parked, a job that runs and a rebuild under way have tests of their own.
    elsewhere = {"retry_parked", "release_parked", "skip_parked", "cancel_job"}
    elsewhere |= {"pause_rebuild", "resume_rebuild", "cancel_rebuild"}
    for deed in (each for each in deeds if each.name not in elsewhere):
        before = len(await context.projections.operator.operations(limit=1_000))
        path = deed.path.replace("{name}", "account_summary").replace("{stream}", "account-1")
        body = {"key": ["1"]} if deed.name == "refold_projection" else {}
        answer = await api.request(deed.method, path, json=body)
        if answer.status_code == 202:
            await finished(api, answer)
        assert answer.is_success, (deed.name, answer.text)
        kept = await context.projections.operator.operations(limit=1_000)
        assert len(kept) == before + 1, deed.name
        assert kept[0].actor == ME, deed.name


async def test_a_job_is_cancelled(server: Server, api: httpx.AsyncClient) -> None:
    begun = asyncio.Event()

    async def work(job: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    job = server.jobs.begin("verify", "everything", ME, work)
    await begun.wait()
    twice = await api.post("/operations/verify", json={})
    cancelled = await api.delete(f"/operations/jobs/{job.id}")
    await asyncio.gather(job.task, return_exceptions=True) if job.task else None

    assert (twice.status_code, cancelled.status_code) == (409, 202)
    assert (await api.get(f"/operations/jobs/{job.id}")).json()["state"] == "cancelled"
    listed = (await api.get("/operations/jobs")).json()
    assert [(each["id"], each["process"]) for each in listed["jobs"]] == [(job.id, listed["process"])]


async def test_a_job_that_is_not_here_is_said_to_be_known_where_it_was_begun(
    server: Server, api: httpx.AsyncClient
) -> None:
    for method in ("GET", "DELETE"):
        problem = await api.request(method, "/operations/jobs/0123456789abcdef")
        assert (problem.status_code, problem.json()["code"]) == (404, "not-found")
        detail = problem.json()["detail"]
        assert f"this process ({server.jobs.process}) has no such job" in detail
        assert "a job belongs to the process that began it" in detail
        assert "GET /operations/status" in detail


async def test_snapshots_are_listed_and_dropped(server: Server, api: httpx.AsyncClient) -> None:
    context = await server.context()
    for _ in range(6):
        await context.execute(DepositMoney(account_id="1", amount=Decimal(1)))
    await context.stop()
    listed = (await api.get("/operations/snapshots")).json()["snapshots"]
    dropped = await api.delete("/operations/snapshots/account-1")

    assert [(each["stream"], each["version"]) for each in listed] == [("account-1", 5)]
    assert dropped.status_code == 204
    assert (await api.get("/operations/snapshots")).json()["snapshots"] == []


class Put(Command):
    box_id: str
    value: int


class WasPut(Event):
    value: int


class Box(Aggregate, stream="box", id="box_id"):
    value: int = 0

    @decide
    def put(self, command: Put) -> WasPut:
        return WasPut(value=command.value)

    @evolve
    def was_put(self, event: WasPut) -> None:
        self.value = event.value


broken = True


class Inverse(ReadModel, key="box_id", on_error="park"):
    box_id: str
    value: float = 0

    @evolve
    def was_put(self, event: WasPut) -> None:
        if event.value == 0 and broken:
            raise ZeroDivisionError("nothing is the inverse of 0")
        self.value = 1 / event.value if event.value else -1.0


boxes = App("boxes", aggregates=[Box], read_models=[Inverse])


@pytest.mark.usefixtures("short_pauses")
async def test_parked_keys_are_shown_retried_and_skipped(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server(boxes, store_url) as server, calling(server) as api:
        for box, value in (("a", 0), ("a", 2), ("b", 0), ("c", 4)):
            await api.post("/commands/Put", json={"box_id": box, "value": value})
        while len(parked := (await api.get("/operations/parked")).json()["parked"]) < 2:
            await asyncio.sleep(0.02)
        rebuilt = (await api.post("/operations/projections/inverse/rebuild", json={})).json()
        while (job := (await api.get(f"/operations/jobs/{rebuilt['id']}")).json())["state"] == "running":
            await asyncio.sleep(0.02)
        done = (await api.get("/operations/log")).json()["operations"]
        path = "/operations/parked/inverse/%5B%22a%22%5D"
        waiting = (await api.get(path)).json()
        still = await api.post(f"{path}/retry", json={"reason": "mended"})
        monkeypatch.setattr("tests.server.test_operations.broken", False)
        mended = await api.post(f"{path}/retry", json={"reason": "mended"})
        strange = [
            await api.post(f"/operations/parked/inverse/{key}/retry", json={})
            for key in ("%5B%5D", "%22ab%22", "ab", "null", "%5B%5B%5D%5D", "5")
        ]
        no_reason = await api.post("/operations/parked/inverse/%5B%22b%22%5D/skip", json={})
        skipped = await api.post("/operations/parked/inverse/%5B%22b%22%5D/skip", json={"reason": "a test"})
        row = (await api.get("/read-models/inverse/rows/a")).json()

    assert job["state"] == "failed"
    assert "nothing is the inverse of 0" in job["problem"]
    assert "event 'WasPut' at position 1 (stream 'box-a')" in job["problem"]
    assert [(each["operation"], each["target"], each["details"]) for each in done] == [
        ("rebuild", "inverse", {"failed": job["problem"]})
    ]
    assert {each["key"] for each in parked} == {'["a"]', '["b"]'}
    assert "nothing is the inverse of 0" in waiting["parked"]["error"]
    assert [event["version"] for event in waiting["events"]] == [1, 2]
    assert still.json()["done"] is False
    assert mended.json()["done"] is True
    assert {each.status_code for each in strange} <= {404, 422}
    assert (no_reason.status_code, skipped.json()["done"]) == (422, True)
    assert row == {"box_id": "a", "value": 0.5}
