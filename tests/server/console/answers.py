"""Answers that come when a test lets them."""

from __future__ import annotations

import re
import time

from playwright.sync_api import Page, Route

__all__ = ["Answers"]


class Answers:
    """The answers to requests whose address has a pattern: so many come, and the one after them only when it is let
    through.
    """

    def __init__(self, page: Page, pattern: str, come: int = 1_000) -> None:
        self._page = page
        self._asked_for = 0
        self._left = come
        self._held: Route | None = None
        page.route(re.compile(pattern), self._asked)

    def _asked(self, route: Route) -> None:
        self._asked_for += 1
        self._left -= 1
        if self._left == -1:
            self._held = route
        else:
            route.continue_()

    def await_held(self) -> None:
        """Until that one is asked for: all before it have come."""
        deadline = time.monotonic() + 15
        while self._held is None:
            assert time.monotonic() < deadline, f"{self._left} answers were never asked for"
            self._page.wait_for_timeout(10)

    def await_asked(self, number: int) -> None:
        """Until so many were asked for, by all that asks: it may take long, but none of them alone."""
        while (before := self._asked_for) < number:
            deadline = time.monotonic() + 15
            while self._asked_for == before:
                assert time.monotonic() < deadline, f"only {before} answers were ever asked for"
                self._page.wait_for_timeout(10)

    def let_through(self, *, and_hold_the_next: bool = False) -> None:
        """That one, and all others; or the next one is held in its place."""
        self.await_held()
        assert self._held is not None
        held, self._held = self._held, None
        if and_hold_the_next:
            self._left = 0
        held.continue_()
