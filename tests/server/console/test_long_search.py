"""A search of a log that is too long for one answer, and for somebody's patience: what it has found can be read while
it goes on, it says how far back it looked when it ends, and goes on from there when it is asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.server.console.answers import Answers
from tests.server.console.looks import LOOK
from tests.server.console.visit import Visit
from tests.server.process import ServerProcess

pytestmark = pytest.mark.browser
EVENTS = 150
FOUND_AT = (6, 17, 120, 141)
"""Where somebody named needle opens an account: two of them are further back than one search looks."""
ANSWERS = 30
"""Answers after which the page goes on only when it is asked to."""
AT_ONCE = ANSWERS * LOOK
"""Events that the page looks through by itself."""
EVENTS_ASKED = r"/events\?"
REST = -(-(EVENTS - AT_ONCE) // LOOK)
"""Answers that it takes to look through all that is left then."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that looks through a few events for each answer; in its log are so many."""
    folder = tmp_path_factory.mktemp("searched")
    with ServerProcess(
        f"sqlite:///{folder / 'bank.db'}", folder, app="tests.server.console.short_looks:app"
    ) as running:
        with httpx.Client(base_url=running.url, timeout=30) as api:
            for position in range(1, EVENTS + 1):
                owner = "needle" if position in FOUND_AT else "hay"
                body = {"account_id": str(position), "owner": owner}
                assert api.post("/commands/OpenAccount", json=body).raise_for_status().json()["position"] == position
        yield running


def expect_found(page: Page, *positions: int) -> None:
    expect(page.locator("main tbody tr td:nth-child(1)")).to_have_text([str(each) for each in positions])


def test_a_long_search_shows_what_it_has_ends_and_goes_on_when_asked(
    opened: Callable[..., Visit], server: ServerProcess
) -> None:
    visit = opened(server.url)
    page = visit.page
    answers = Answers(page, EVENTS_ASKED, come=5)
    visit.to("log?text=needle")
    searching = page.get_by_role("status").filter(has_text="Searched back")
    expect(searching).to_contain_text(f"Searched back to {EVENTS + 1 - 5 * LOOK}, 1 found so far")
    expect(page.get_by_role("table")).to_have_accessible_name("Events found so far, the newest first")
    expect_found(page, 141)

    answers.let_through()
    answers.await_asked(ANSWERS)
    ended = EVENTS + 1 - AT_ONCE
    expect(page.get_by_text(f"Searched back to position {ended}.")).to_be_visible()
    expect(searching).to_have_count(0)
    expect_found(page, 141, 120)
    expect(page.locator("[data-next]")).to_have_count(0)  # what was not searched is no page of what was found

    visit.link("Go on from there").click()
    expect(page).to_have_url(f"{server.url}/console/log?text=needle&after={ended}")
    answers.await_asked(ANSWERS + REST)
    expect_found(page, 17, 6)
    expect(searching).to_have_count(0)
    expect(visit.link("Go on from there")).to_have_count(0)  # that was the log's beginning


def test_a_long_search_that_finds_nothing_says_how_much_was_searched(
    opened: Callable[..., Visit], server: ServerProcess
) -> None:
    visit = opened(server.url)
    page = visit.page
    answers = Answers(page, EVENTS_ASKED)
    visit.to("log?text=pin")
    answers.await_asked(ANSWERS)
    expect(page.get_by_text("No event fits.")).to_be_visible()
    expect(page.get_by_text("the search has not come to the log's beginning")).to_be_visible()
    expect(page.get_by_text(f"Searched back to position {EVENTS + 1 - AT_ONCE}.")).to_be_visible()
    visit.link("Go on from there").click()
    answers.await_asked(ANSWERS + REST)
    expect(page.get_by_text("No older event fits.")).to_be_visible()
    expect(page.get_by_text("Now the log was searched to its beginning.")).to_be_visible()
    expect(visit.link("Go on from there")).to_have_count(0)


def test_a_search_that_is_stopped_keeps_what_it_has_and_goes_on_when_asked(
    opened: Callable[..., Visit], server: ServerProcess
) -> None:
    visit = opened(server.url)
    page = visit.page
    answers = Answers(page, EVENTS_ASKED, come=3)
    visit.to("log?text=needle")
    answers.await_held()  # a search that is stopped before asks for no fourth answer
    visit.button("Stop").click()
    answers.let_through()
    expect(page.get_by_text(f"Searched back to position {EVENTS + 1 - 4 * LOOK}.")).to_be_visible()
    expect_found(page, 141)
    visit.link("Go on from there").click()
    answers.await_asked(4 + ANSWERS)
    expect(page.get_by_text(f"Searched back to position {EVENTS + 1 - 4 * LOOK - AT_ONCE}.")).to_be_visible()
    expect_found(page, 120, 17)
    visit.link("Go on from there").click()
    expect_found(page, 6)
    expect(visit.link("Go on from there")).to_have_count(0)


def test_stop_may_be_pressed_while_answers_come(opened: Callable[..., Visit], server: ServerProcess) -> None:
    """Whoever presses it takes a while to let go of it; that an answer comes in between must not lose the press."""
    visit = opened(server.url)
    page = visit.page
    answers = Answers(page, EVENTS_ASKED, come=3)
    visit.to("log?text=needle")
    answers.await_held()
    visit.button("Stop").hover()
    page.mouse.down()
    answers.let_through(and_hold_the_next=True)
    expect(page.get_by_role("status").filter(has_text=f"Searched back to {EVENTS + 1 - 4 * LOOK}")).to_be_visible()
    page.mouse.up()
    expect(visit.button("Stop")).to_be_disabled()
    answers.let_through()
    expect(page.get_by_text(f"Searched back to position {EVENTS + 1 - 5 * LOOK}.")).to_be_visible()
