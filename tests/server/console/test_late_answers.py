"""Answers that come late, or in another order than they were asked for: what is shown is what was asked for last."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.server.console.test_rebuilding import press
from tests.server.console.visit import Visit

pytestmark = pytest.mark.browser
SEEN = "[...document.querySelectorAll('h1 ~ .lead .badge')].map(each => each.textContent).join()"
ASK_WHAT_THE_PAGE_ASKS = """async () => {
    for (const each of ["status", "parked", "jobs"]) await fetch(new URL(`../operations/${each}`, document.baseURI));
}"""
KEEP_WHAT_IS_SEEN = f"""() => {{
    window.seen = [{SEEN}];
    new MutationObserver(() => {{
        const now = {SEEN};
        if (now && now !== window.seen.at(-1)) window.seen.push(now);
    }}).observe(document.body, {{ childList: true, subtree: true, characterData: true }});
}}"""


@pytest.fixture(scope="module", autouse=True)
def bank(api: httpx.Client) -> None:
    """An account of three events; its row has seen them."""
    for name, body in (
        ("OpenAccount", {"account_id": "42", "owner": "alice"}),
        ("DepositMoney", {"account_id": "42", "amount": "100"}),
        ("WithdrawMoney", {"account_id": "42", "amount": "30"}),
    ):
        api.post(f"/commands/{name}", json=body).raise_for_status()
    until = {"Refold-After": "3", "Prefer": "wait=20"}
    for name in ("account_summary", "daily_balance"):
        api.get(f"/read-models/{name}/count", headers=until).raise_for_status()


class Late:
    """The first answer to what fits: the server gives it at once, and the page gets it when it is let through, after
    whatever it asked for later.
    """

    def __init__(self, page: Page, asked: str) -> None:
        self._page = page
        self._held: tuple[Route, APIResponse] | None = None
        self._fits = re.compile(asked)
        page.route(self._fits, self._asked)

    def _asked(self, route: Route) -> None:
        if self._held is None:
            self._held = route, route.fetch()
        else:
            route.fulfill(response=route.fetch())

    def asked_by(self, act: Callable[[], object]) -> None:
        """Does something, and comes back when it has led to the question."""
        with self._page.expect_request(self._fits):
            act()

    def let_through(self) -> None:
        """Comes back when the page has it."""
        assert self._held is not None
        route, answer = self._held
        with self._page.expect_response(self._fits):
            route.fulfill(response=answer)
        self._page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def test_a_row_as_it_was_is_the_one_that_was_pressed_last(visit: Visit) -> None:
    page = visit.to("read-models/account_summary/row?key=42")
    versions = page.locator(".moment-of .version")
    expect(versions).to_have_count(3)
    late = Late(page, r"/rows/42\?at_position=2$")
    late.asked_by(versions.nth(1).click)
    balance = page.locator(".fields > div").filter(has_text="balance")
    versions.nth(2).click()
    expect(balance).to_contain_text("100 → 70")
    late.let_through()
    expect(balance).to_contain_text("100 → 70")
    expect(page.get_by_text("as it was at position 3")).to_be_visible()
    expect(page).to_have_url(re.compile("at_position=3"))


def test_a_state_is_that_of_the_version_that_was_wanted_last(visit: Visit) -> None:
    page = visit.to("streams/account-42")
    where = page.locator(".version-shown")
    page.get_by_text("At a moment").click()
    late = Late(page, r"/aggregates/account/42\?as_of=")
    late.asked_by(lambda: page.get_by_label("Moment").fill("2020-01-01T00:00:00"))
    page.get_by_role("button", name="One version back").click()
    expect(where).to_have_text("2 of 3")
    expect(page.locator(".state-part .changed").first).to_contain_text("0 → 100")
    late.let_through()
    expect(where).to_have_text("2 of 3")
    expect(page).to_have_url(re.compile("version=2"))


def test_what_was_asked_before_a_deed_is_not_told_after_it(visit: Visit) -> None:
    """A projection that is paused would be shown as running again, with a button to pause it."""
    page = visit.to("projections/daily_balance")
    page.evaluate(KEEP_WHAT_IS_SEEN)
    late = Late(page, "/operations/status$")
    late.asked_by(lambda: None)
    press(visit, "Pause", reason="we move house")
    expect(page.locator("#toasts")).to_contain_text("daily_balance is paused.")
    page.evaluate(ASK_WHAT_THE_PAGE_ASKS)  # whatever it has asked by now has its answer before
    late.let_through()
    expect(page.locator("h1 ~ .lead .badge")).to_have_text("paused")
    assert page.evaluate("window.seen") == ["running", "paused"]
    press(visit, "Resume", reason="it is over")
    expect(page.locator("h1 ~ .lead .badge")).to_have_text("running")


def test_whoever_leaves_before_a_deed_is_seen_leaves_no_error_behind(visit: Visit) -> None:
    page = visit.to("projections/account_summary")
    press(visit, "Pause", reason="we move house")
    expect(visit.button("Resume")).to_be_visible()
    visit.button("Resume").click()
    late = Late(page, "/operations/status$")
    late.asked_by(visit.button("Resume", within=page.get_by_role("dialog")).click)
    expect(page.locator("#toasts")).to_contain_text("account_summary goes on.")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Streams").click()
    expect(page.get_by_role("heading", name="Streams")).to_be_visible()
    # That there was no error is what `opened` asserts of every visit.
