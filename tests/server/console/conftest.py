"""A real browser, and a real server that it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from tests.server.console.visit import Visit
from tests.server.process import ServerProcess
from tests.servers import Unavailable, find_chromium
from tests.untested import skip_loudly

APP = "tests.server.console.domain:app"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module: Playwright's loop must be over before tests with loops of their own begin."""
    try:
        program = find_chromium()
    except Unavailable as reason:
        skip_loudly("chromium", str(reason))
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=str(program), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of the bank with a shop, on an empty store."""
    folder = tmp_path_factory.mktemp("console")
    with ServerProcess(f"sqlite:///{folder / 'bank.db'}", folder, app=APP) as server:
        yield server


@pytest.fixture(scope="module")
def api(served: ServerProcess) -> Iterator[httpx.Client]:
    """Another program that talks to it."""
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens a browser's window on a server: `opened(url, width=…, dark=…)`. At the end there must have been no error in
    the browser's console, and no request to anybody else.
    """
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def open_(url: str, *, width: int = 1280, dark: bool = False) -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        contexts.append(context)
        visit = Visit(context.new_page(), url)
        _watch(visit.page, visit, urlsplit(url).netloc)
        visits.append(visit)
        return visit

    yield open_
    for context in contexts:
        context.close()
    assert [complaint for visit in visits for complaint in visit.complaints] == []


@pytest.fixture
def visit(opened: Callable[..., Visit], served: ServerProcess) -> Visit:
    """A window on the server."""
    return opened(served.url)


def _watch(page: Page, visit: Visit, host: str) -> None:
    def said(message: ConsoleMessage) -> None:
        # What the server refuses is told by the page; that the browser notes it too is no error of the console.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            visit.complaints.append(f"{message.type}: {message.text}")

    def asked(request: Request) -> None:
        if urlsplit(request.url).netloc != host and not request.url.startswith(("data:", "blob:")):
            visit.complaints.append(f"a request to another host: {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))
    page.on("request", asked)
    page.on("dialog", lambda dialog: visit.complaints.append(f"a dialog: {dialog.message}"))
