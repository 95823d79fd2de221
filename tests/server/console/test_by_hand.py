"""A projection that is written by hand can be paused and resumed in the console; there is nothing else to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.server.console.test_rebuilding import press, tables
from tests.server.console.visit import Visit
from tests.server.process import ServerProcess

pytestmark = pytest.mark.browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    app = "tests.server.console.by_hand:app"
    with ServerProcess(f"sqlite:///{tmp_path}/bank.db", tmp_path, app=app) as running:
        yield running


def test_it_is_paused_and_resumed(opened: Callable[..., Visit], server: ServerProcess) -> None:
    visit = opened(server.url)
    page = visit.to("projections/mails")
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()
    assert page.get_by_role("button", name="Rebuild").count() == 0
    press(visit, "Pause", reason="the post is on strike")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    expect(page.get_by_text("the post is on strike")).to_be_visible()
    assert tables(server)["mails"] == "paused"
    press(visit, "Resume", reason="it is over")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    done = httpx.get(f"{server.url}/operations/log", timeout=30).json()["operations"]
    assert [(each["operation"], each["target"], each["reason"]) for each in done] == [
        ("resume", "mails", "it is over"),
        ("pause", "mails", "the post is on strike"),
    ]
