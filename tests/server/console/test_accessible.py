"""Every page for everybody: axe-core finds nothing, in light and dark, and a phone is wide enough."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.server.console.visit import Visit
from tests.server.process import ServerProcess

pytestmark = pytest.mark.browser
ENDED = """Promise.all(document.getAnimations()
    .filter(each => isFinite(each.effect.getTiming().iterations)).map(each => each.finished))"""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGES = {
    "overview": "",
    "log": "log",
    "log, searched": "log?type=MoneyDeposited&actor=nobody",
    "streams": "streams",
    "stream": "streams/account-42?version=2",
    "event": "events/2",
    "projections": "projections",
    "projection": "projections/account_summary",
    "read models": "read-models",
    "rows": "read-models/account_summary?balance.ge=1&order_by=-balance",
    "row": "read-models/account_summary/row?key=42&at_position=2",
    "commands": "commands",
    "command": "commands/PlaceOrder",
    "audit": "audit?stream=account-42",
    "operations": "audit?show=operations",
    "missing": "nothing",
    "problem": "streams/account-nobody",
    "sign in": "sign-in",
}


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's source, from the package that brings it along."""
    spec = importlib.util.find_spec("axe_core_python")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return (Path(spec.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bank(api: httpx.Client) -> None:
    """Something on every page."""
    after = ""
    for name, body in (
        ("OpenAccount", {"account_id": "42", "owner": "alice"}),
        ("DepositMoney", {"account_id": "42", "amount": "100"}),
        ("OpenAccount", {"account_id": "a" * 120, "owner": "x" * 400}),
    ):
        after = api.post(f"/commands/{name}", json=body).raise_for_status().json()["token"]
    until = {"Refold-After": after, "Prefer": "wait=20"}
    assert api.get("/read-models/account_summary/count", headers=until).is_success
    assert api.post("/operations/projections/daily_balance/pause", json={"reason": "for a look"}).is_success


def found_by(axe: str, page: Page, only: str = "") -> list[str]:
    """What axe-core does not like, by all rules or by one."""
    page.evaluate(axe)
    rules = {"type": "rule", "values": [only]} if only else {"type": "tag", "values": RULES}
    result: dict[str, Any] = page.evaluate("rules => axe.run(document, { runOnly: rules })", rules)
    return [
        f"{violation['id']}: {violation['help']}: {node['target']} {node['html'][:160]} {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]


def settled(visit: Visit, path: str) -> Page:
    """A page on which nothing is waited for any more, and nothing moves."""
    page = visit.whole(path)
    page.evaluate(ENDED)
    return page


@pytest.mark.usefixtures("bank")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(opened: Callable[..., Visit], served: ServerProcess, axe: str, dark: bool) -> None:
    visit = opened(served.url, dark=dark)
    found = []
    for name, path in PAGES.items():
        page = settled(visit, path)
        # Only the colours are others in the dark.
        found += [f"{name}: {each}" for each in found_by(axe, page, "color-contrast" if dark else "")]
    assert found == []


@pytest.mark.usefixtures("bank")
def test_dialogs_and_menus_are_accessible_too(opened: Callable[..., Visit], served: ServerProcess, axe: str) -> None:
    visit = opened(served.url, width=360)
    page = visit.to("projections/account_summary")
    visit.button("Menu").click()
    assert found_by(axe, page) == []
    visit.button("Menu").click()
    visit.button("Pause").click()
    assert found_by(axe, page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert found_by(axe, page) == []


@pytest.mark.usefixtures("bank")
def test_a_phone_is_wide_enough(opened: Callable[..., Visit], served: ServerProcess) -> None:
    visit = opened(served.url, width=360)
    for name, path in PAGES.items():
        page = settled(visit, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


@pytest.mark.usefixtures("bank")
def test_the_first_tab_skips_to_the_content(visit: Visit) -> None:
    page = visit.to("log")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
