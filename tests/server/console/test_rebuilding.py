"""A rebuild that takes its time, watched and led in the console: progress, pause, end, switch, and the way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.server.console.gate import GATE, PAGE, Gate
from tests.server.console.visit import Visit
from tests.server.process import ServerProcess

pytestmark = pytest.mark.browser
EVENTS = 6 * PAGE + 11


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with Gate() as found:
        monkeypatch.setenv(GATE, str(found.port))
        yield found


@pytest.fixture
def server(gate: Gate, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose rebuilds wait at the gate; in its log is one account's story."""
    with ServerProcess(f"sqlite:///{tmp_path}/bank.db", tmp_path, app="tests.server.console.held:app") as running:
        try:
            fill(running)
            yield running
        finally:
            gate.open()


def fill(server: ServerProcess) -> None:
    """An account with so many events; comes back when its row has seen them all."""
    with httpx.Client(base_url=server.url, timeout=30) as api:
        api.post("/commands/OpenAccount", json={"account_id": "42", "owner": "alice"}).raise_for_status()
        for _ in range(EVENTS - 1):
            api.post("/commands/DepositMoney", json={"account_id": "42", "amount": "1"}).raise_for_status()
        until = {"Refold-After": str(EVENTS), "Prefer": "wait=20"}
        for name in ("account_summary", "daily_balance"):
            api.get(f"/read-models/{name}/count", headers=until).raise_for_status()


def tables(server: ServerProcess) -> dict[str, str]:
    """The projections and their states, as another program is told them."""
    found = httpx.get(f"{server.url}/operations/status", timeout=30).json()["projections"]
    return {each["name"]: each["state"] for each in found}


def until_ended(server: ServerProcess) -> None:
    """Waits until no job goes on any more: how long one takes is no matter of the page that tells of it."""
    with httpx.Client(base_url=server.url, timeout=30) as api:
        while any(job["state"] == "running" for job in api.get("/operations/jobs").raise_for_status().json()["jobs"]):
            time.sleep(0.02)


def press(visit: Visit, label: str, *, within: Locator | None = None, reason: str = "") -> None:
    """Presses a button, and the one of the dialog that asks again."""
    visit.button(label, within=within).click()
    if reason:
        visit.page.get_by_label("Reason").fill(reason)
    visit.button(label, within=visit.page.get_by_role("dialog")).click()


def begun(visit: Visit, gate: Gate) -> tuple[Page, Locator]:
    """A rebuild that stands at the gate with a page folded; the page of its read model, and where that tells of it."""
    page = visit.to("projections/account_summary")
    press(visit, "Rebuild")
    gate.wait()
    return page, page.get_by_role("region", name="Rebuild")


def at(position: int) -> str:
    return f"{position:,} of {EVENTS:,}"


def test_it_is_watched_paused_resumed_and_ended(
    opened: Callable[..., Visit], server: ServerProcess, gate: Gate
) -> None:
    visit = opened(server.url)
    page, beside = begun(visit, gate)
    jobs = page.get_by_role("region", name="Jobs")
    expect(beside.locator(".badge")).to_have_text("rebuilding")
    expect(beside).to_contain_text(at(PAGE))
    gate.page()
    gate.page()
    expect(beside).to_contain_text(at(3 * PAGE))
    expect(beside.get_by_role("progressbar")).to_have_js_property("value", 3 * PAGE / EVENTS)
    expect(page.get_by_role("progressbar", name="Rebuild of account_summary")).to_have_count(1)  # told once
    expect(jobs.locator(".job")).to_have_count(0)
    for another in ("Rebuild", "Compare"):
        expect(visit.button(another)).to_be_disabled()

    press(visit, "Pause", within=beside, reason="it is noon")
    expect(beside.locator(".badge")).to_have_text("paused")
    expect(beside).to_contain_text("it is noon")
    expect(beside).to_contain_text(at(3 * PAGE))
    expect(beside).not_to_contain_text("left")  # nobody can say how long it will take
    visit.to()
    wrong = page.get_by_role("region", name="What is wrong")
    expect(wrong).to_contain_text("account_summary__building: paused")
    tile = page.locator(".tile", has=page.get_by_role("heading", name="Furthest behind"))
    expect(tile.locator(".tile-value")).to_have_text("none")  # what is read is behind nothing
    visit.to("projections")
    expect(page.get_by_role("region", name="Jobs").locator(".badge")).to_have_text("paused")
    visit.to()
    visit.link("account_summary__building: paused").click()  # it leads to where one can do something about it

    press(visit, "Resume", within=beside)
    expect(beside.locator(".badge")).to_have_text("rebuilding")
    pause = visit.button("Pause", within=beside)
    pause.focus()
    gate.page()
    expect(beside).to_contain_text(at(4 * PAGE))
    expect(pause).to_be_focused()  # progress takes the keyboard from nobody

    press(visit, "End it", within=beside, reason="the wrong one")
    expect(beside.get_by_role("heading")).to_have_count(0)
    ended = jobs.locator(".job").first
    expect(ended.locator(".badge")).to_have_text("cancelled")
    expect(ended).to_contain_text("was cancelled by")
    expect(ended).to_contain_text("the wrong one")
    expect(visit.button("Rebuild")).to_be_enabled()
    expect(visit.button("Roll back")).to_have_count(0)
    assert tables(server) == {"account_summary": "running", "daily_balance": "running", "parcel": "running"}


def test_one_that_another_has_begun_meanwhile_is_said_where_it_was_asked_for(
    opened: Callable[..., Visit], server: ServerProcess, gate: Gate
) -> None:
    visit = opened(server.url)
    page = visit.to("projections/account_summary")
    visit.button("Rebuild").click()
    path = f"{server.url}/operations/projections/account_summary"
    job = httpx.post(f"{path}/rebuild", json={}, timeout=30).raise_for_status().json()
    gate.wait()
    asked = page.get_by_role("dialog")
    visit.button("Rebuild", within=asked).click()
    expect(asked.get_by_role("alert")).to_contain_text(f"was begun by {job['actor']} at")
    expect(asked.get_by_role("alert")).to_contain_text("wait for its end, or cancel it")

    httpx.post(f"{path}/rebuild/pause", json={"reason": "it is noon"}, timeout=30).raise_for_status()
    visit.button("Rebuild", within=asked).click()
    expect(asked.get_by_role("alert")).to_contain_text("it is noon")
    visit.button("Leave it", within=asked).click()
    for another in ("Rebuild", "Compare"):
        expect(visit.button(another)).to_be_disabled()
        expect(visit.button(another)).to_have_attribute("title", "A rebuild is paused: resume it, or end it")
    assert len(httpx.get(f"{server.url}/operations/jobs", timeout=30).json()["jobs"]) == 1  # nothing else was begun


def test_it_finishes_is_read_and_is_rolled_back(
    opened: Callable[..., Visit], server: ServerProcess, gate: Gate
) -> None:
    visit = opened(server.url)
    page, beside = begun(visit, gate)
    expect(beside.locator(".badge")).to_have_text("rebuilding")
    expect(visit.button("Roll back")).to_have_count(0)
    gate.open()
    until_ended(server)
    ended = page.get_by_role("region", name="Jobs").locator(".job").first
    expect(ended.locator(".badge")).to_have_text("done")
    expect(ended).to_contain_text(f"up to position {EVENTS:,}")
    expect(beside.get_by_role("heading")).to_have_count(0)
    assert tables(server)["account_summary__previous"] == "previous"
    visit.to("read-models/account_summary")
    expect(page.locator("main tbody tr")).to_contain_text(str(EVENTS - 1))
    visit.to("projections/account_summary")
    press(visit, "Roll back")
    expect(page.get_by_text("is read as it was before its last rebuild")).to_be_visible()
    visit.to("audit?show=operations")
    expect(page.locator("main tbody tr").first).to_contain_text("rollback")
