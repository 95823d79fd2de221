"""What is drawn anew while somebody uses it: a press is not lost, the focus stays, and what is unfolded stays so."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.server.console.visit import Visit

pytestmark = pytest.mark.browser
PAGES = [
    ("", "/operations/overview", "Projections"),
    ("projections", "/operations/status", None),
]
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture
def moved(api: httpx.Client) -> Callable[[], None]:
    """Appends an event, which the read models see: all that says how far they are changes."""
    number = iter(range(1, 1_000))
    name = f"account-of-{id(number)}"

    def move() -> None:
        receipt = api.post("/commands/OpenAccount", json={"account_id": f"{name}-{next(number)}", "owner": "a"})
        until = {"Refold-After": receipt.raise_for_status().json()["token"], "Prefer": "wait=20"}
        for each in ("account_summary", "daily_balance"):
            api.get(f"/read-models/{each}/count", headers=until).raise_for_status()

    move()
    return move


def looked_again(page: Page, asked: str) -> None:
    """The page has asked once more, and drawn what it was told."""
    for _ in range(2):  # the first may have been on its way before
        with page.expect_response(re.compile(asked)):
            pass
    page.evaluate(DRAWN)


@pytest.mark.parametrize(("path", "asked", "region"), PAGES)
def test_a_press_during_which_it_changes_counts(
    visit: Visit, moved: Callable[[], None], path: str, asked: str, region: str | None
) -> None:
    page = visit.to(path)
    link = _link(page, region)
    link.hover()
    page.mouse.down()
    moved()
    looked_again(page, asked)
    page.mouse.up()
    expect(page).to_have_url(re.compile("/console/projections/account_summary$"))


@pytest.mark.parametrize(("path", "asked", "region"), PAGES)
def test_the_focus_stays_where_it_is(
    visit: Visit, moved: Callable[[], None], path: str, asked: str, region: str | None
) -> None:
    page = visit.to(path)
    link = _link(page, region)
    link.focus()
    before = link.evaluate_handle("(element) => element")
    moved()
    looked_again(page, asked)
    assert before.evaluate("(element) => !element.isConnected"), "it was not drawn anew"
    expect(_link(page, region)).to_be_focused()


def _link(page: Page, region: str | None) -> Locator:
    where = page.get_by_role("region", name=region) if region else page.locator("main")
    return where.get_by_role("link", name="account_summary", exact=True)
