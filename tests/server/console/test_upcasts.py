"""An event that an older release wrote is shown as it was stored and as today's code reads it; one that a newer release
wrote is shown with the reason why it cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.server.console.upcasts import write_others
from tests.server.console.visit import Visit
from tests.server.process import ServerProcess

pytestmark = pytest.mark.browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    url = f"sqlite:///{tmp_path}/pays.db"
    write_others(url)
    with ServerProcess(url, tmp_path, app="tests.server.console.upcasts:app") as running:
        yield running


def test_an_older_event_and_a_newer_one(opened: Callable[..., Visit], server: ServerProcess) -> None:
    visit = opened(server.url)
    page = visit.to("events/1")
    stored = page.get_by_role("region", name="Payload as stored")
    expect(stored).to_contain_text("cents")
    expect(stored).to_contain_text("1250")
    read = page.get_by_role("region", name="As today's code reads it")
    expect(read).to_contain_text("12.5")
    expect(page.get_by_text("written as schema version 1; today's code writes version 2")).to_be_visible()
    page = visit.to("events/2")
    expect(page.get_by_text("Today's code cannot read it")).to_be_visible()
    expect(
        page.get_by_text("was written as version 3 of its class, and this code knows it up to version 2")
    ).to_be_visible()
    newest, oldest = (httpx.get(f"{server.url}/events/{position}", timeout=30).json() for position in (2, 1))
    assert (oldest["event"]["payload"], oldest["today"], oldest["reads_version"]) == (
        {"cents": 1250},
        {"amount": "12.5"},
        2,
    )
    assert (newest["event"]["schema_version"], newest["today"], newest["reads_version"]) == (3, None, 2)
