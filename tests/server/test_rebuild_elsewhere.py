"""Two servers on one Postgres: what the one rebuilds is seen, paused, resumed and ended by the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.server.console.gate import GATE, PAGE, Gate
from tests.server.process import ServerProcess
from tests.servers import PostgresServer

pytestmark = pytest.mark.postgres
EVENTS = 3 * PAGE + 1
REBUILD = "/operations/projections/account_summary/rebuild"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with Gate() as found:
        monkeypatch.setenv(GATE, str(found.port))
        yield found


@pytest.fixture
def servers(gate: Gate, postgres18: PostgresServer, tmp_path: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two server processes; the first keeps the read models too."""
    url, app = postgres18.create_database(f"elsewhere_{uuid4().hex}"), "tests.server.console.held:app"
    with (
        ServerProcess(url, tmp_path, "--projections", app=app) as one,
        ServerProcess(url, tmp_path, app=app) as other,
        httpx.Client(base_url=one.url, timeout=30) as here,
        httpx.Client(base_url=other.url, timeout=30) as there,
    ):
        yield here, there
        gate.open()


def fill(api: httpx.Client) -> None:
    api.post("/commands/OpenAccount", json={"account_id": "42", "owner": "alice"}).raise_for_status()
    for _ in range(EVENTS - 1):
        api.post("/commands/DepositMoney", json={"account_id": "42", "amount": "1"}).raise_for_status()
    until = {"Refold-After": str(EVENTS), "Prefer": "wait=20"}
    api.get("/read-models/account_summary/count", headers=until).raise_for_status()


def built(api: httpx.Client) -> dict[str, Any]:
    """What a server says of the rebuild; empty when there is none."""
    found = api.get("/operations/status").raise_for_status().json()["projections"]
    return next((each for each in found if each["name"] == "account_summary__building"), {})


def until_built(api: httpx.Client, **wanted: object) -> dict[str, Any]:
    """Waits until a server says so of the rebuild."""
    deadline = time.monotonic() + 30
    while True:
        found = built(api)
        if all(found.get(name) == value for name, value in wanted.items()):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def ordered(api: httpx.Client, word: str, reason: str) -> None:
    assert api.post(f"{REBUILD}/{word}", json={"reason": reason}).json() == {"changed": True}


def ended(api: httpx.Client, job: str) -> dict[str, Any]:
    """The job, when it is over."""
    deadline = time.monotonic() + 30
    while True:
        found: dict[str, Any] = api.get(f"/operations/jobs/{job}").raise_for_status().json()
        if found["state"] != "running":
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def refused(api: httpx.Client) -> str:
    """Why another one does not begin."""
    answer = api.post(REBUILD, json={})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "under-way"), problem
    assert api.post(REBUILD.replace("rebuild", "compare"), json={}).status_code == 409
    return str(problem["detail"])


def test_a_rebuild_is_led_from_another_server(servers: tuple[httpx.Client, httpx.Client], gate: Gate) -> None:
    here, there = servers
    fill(here)
    job = here.post(REBUILD, json={}).raise_for_status().json()["id"]
    gate.wait()
    gate.page()
    seen = until_built(there, state="rebuilding", position=0)  # nothing is written yet, and it is told all the same
    assert seen["error"].startswith(f"it is at {2 * PAGE} of {EVENTS} (")

    owner = seen["owner"].partition(":rebuild:")[0]
    assert f"by {owner} since 20" in refused(there)
    assert job in refused(here)  # the process that does it knows more

    ordered(there, "pause", "it is noon")
    for api in servers:
        assert "it is noon" in until_built(api, state="paused", position=2 * PAGE)["error"]
        assert "it is noon" in refused(api)
    ordered(there, "resume", "")
    until_built(there, state="rebuilding")
    ordered(there, "cancel", "the wrong one")
    found = ended(here, job)
    assert (found["state"], "the wrong one" in found["problem"]) == ("cancelled", True)
    assert built(here) == built(there) == {}


def test_a_job_is_known_where_it_was_begun_and_what_it_builds_everywhere(
    servers: tuple[httpx.Client, httpx.Client], gate: Gate
) -> None:
    here, there = servers
    fill(here)
    job = here.post(REBUILD.replace("rebuild", "compare"), json={}).raise_for_status().json()
    gate.wait()
    assert until_built(there, state="rebuilding")["owner"].startswith(job["process"])
    path = f"/operations/jobs/{job['id']}"
    own = [api.get("/operations/jobs").json() for api in servers]
    assert [each["process"] == job["process"] for each in own] == [True, False]
    assert [len(each["jobs"]) for each in own] == [1, 0]
    for method in ("GET", "DELETE"):
        unknown = there.request(method, path)
        assert unknown.status_code == 404
        assert "a job belongs to the process that began it" in unknown.json()["detail"]
    gate.open()
    assert ended(here, job["id"])["result"]["same"] == 1
    told = there.get("/operations/log").json()["operations"][0]
    assert (told["operation"], told["target"]) == ("rebuild: compare", "account_summary")


def test_the_switch_is_seen_by_another_server(servers: tuple[httpx.Client, httpx.Client], gate: Gate) -> None:
    here, there = servers
    fill(here)
    job = there.post(REBUILD, json={}).raise_for_status().json()["id"]
    gate.wait()
    gate.open()
    assert ended(there, job)["state"] == "done"
    for api in servers:
        assert api.get("/read-models/account_summary/rows/42").json()["balance"] == str(EVENTS - 1)
        names = {each["name"] for each in api.get("/operations/status").json()["projections"]}
        assert "account_summary__previous" in names
