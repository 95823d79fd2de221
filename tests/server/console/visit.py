"""A window of a browser on a server's console."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

_COMES_LAST = (
    (r"(log|audit)\b", ".pager"),
    (r"events/", ".graph"),
    (r"streams/", ".fields"),
    (r"read-models/[^/]+/row\b", ".fields"),
)
"""Of pages whose heading is there before all that they ask for: by their paths, what is there when the rest is, too."""


class Visit:
    """What somebody does there. `complaints` are what must not happen in a browser."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(15_000)

    def to(self, path: str = "") -> Page:
        """Goes to a page of the console, and waits for its heading."""
        self.page.goto(f"{self.url}/console/{path}")
        expect(self.page.locator("main h1")).to_be_visible()
        return self.page

    def whole(self, path: str = "") -> Page:
        """Goes to a page of the console, and waits until nothing of it is missing any more."""
        page = self.to(path)
        for which, last in _COMES_LAST:
            if re.match(which, path):
                expect(page.locator(f"{last}, .state.problem")).not_to_have_count(0)
        expect(page.locator(".spinner")).to_have_count(0)
        return page

    def button(self, name: str, *, within: Locator | None = None) -> Locator:
        """The button of that name."""
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def link(self, name: str) -> Locator:
        """The first link of that name in the page."""
        return self.page.locator("main").get_by_role("link", name=name, exact=True).first
