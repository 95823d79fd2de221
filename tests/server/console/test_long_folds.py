"""A row as it was, that takes too many events for one answer: how far it is can be seen, it can be stopped, and goes on
from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.server.console.answers import Answers
from tests.server.console.looks import LOOK
from tests.server.console.visit import Visit
from tests.server.process import ServerProcess

pytestmark = pytest.mark.browser
EVENTS = 10 * LOOK
AT = EVENTS - 1
"""The position at which the row is looked at."""
THEN = r"rows/1\?at_position="


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that folds a few events for each answer; one account has so many."""
    folder = tmp_path_factory.mktemp("folded")
    with ServerProcess(
        f"sqlite:///{folder / 'bank.db'}", folder, app="tests.server.console.short_folds:app"
    ) as running:
        with httpx.Client(base_url=running.url, timeout=30) as api:
            api.post("/commands/OpenAccount", json={"account_id": "1", "owner": "alice"}).raise_for_status()
            for _ in range(EVENTS - 1):
                api.post("/commands/DepositMoney", json={"account_id": "1", "amount": "1"}).raise_for_status()
        yield running


def test_it_says_how_far_it_is_and_comes_to_the_end(opened: Callable[..., Visit], server: ServerProcess) -> None:
    visit = opened(server.url)
    page = visit.page
    answers = Answers(page, THEN, come=3)
    visit.to(f"read-models/account_summary/row?key=1&at_position={AT}")
    panel = page.get_by_role("complementary", name="The row")
    expect(panel).to_contain_text(f"Folded up to position {3 * LOOK} of {AT - 1}.")
    answers.let_through()
    expect(panel.get_by_text(f"as it was at position {AT}")).to_be_visible()
    changed = panel.locator(".changed")
    expect(changed.filter(has_text="balance")).to_contain_text(f"{AT - 2} → {AT - 1}")


def test_it_is_stopped_and_goes_on(opened: Callable[..., Visit], server: ServerProcess) -> None:
    visit = opened(server.url)
    page = visit.page
    answers = Answers(page, THEN, come=3)
    visit.to(f"read-models/account_summary/row?key=1&at_position={AT}")
    panel = page.get_by_role("complementary", name="The row")
    answers.await_held()
    visit.button("Stop", within=panel).click()
    answers.let_through()
    expect(panel).to_contain_text(f"Folded up to position {4 * LOOK} of {AT - 1}.")
    visit.button("Go on", within=panel).click()
    expect(panel.get_by_text(f"as it was at position {AT}")).to_be_visible()
    first = httpx.get(f"{server.url}/read-models/account_summary/rows/1?at_position={AT}", timeout=30)
    assert first.status_code == 200  # what was folded for the page is known to the server


def test_who_looks_at_another_position_meanwhile_sees_that_one(
    opened: Callable[..., Visit], server: ServerProcess
) -> None:
    """However late the answer for the one before comes."""
    visit = opened(server.url)
    page = visit.page
    answers = Answers(page, THEN, come=3)
    visit.to(f"read-models/account_summary/row?key=1&at_position={AT}")
    answers.await_held()
    panel = page.get_by_role("complementary", name="The row")
    visit.button("Now", within=panel).click()
    expect(panel.get_by_text("as it is now")).to_be_visible()
    with page.expect_response(lambda response: "at_position" in response.url):
        answers.let_through()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(panel.get_by_text("as it is now")).to_be_visible()
    expect(panel.get_by_text("Folded up to")).to_have_count(0)


def test_an_answer_says_how_far_it_is(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as api:
        reached = []
        while (answer := api.get(f"/read-models/account_summary/rows/1?at_position={AT}")).status_code == 504:
            problem = answer.json()
            assert (problem["code"], problem["wanted"]) == ("timeout", AT)
            reached.append(problem["reached"])
        assert answer.json()["balance"] == str(AT - 1)
        assert reached == list(range(LOOK, AT, LOOK))
