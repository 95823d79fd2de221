"""What reads have in common: the consistency token, and how long one waits for it."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import TypeVar

from refold.errors import StaleRead
from refold.server.operation import Call
from refold.server.problems import Problem, problem_of

__all__ = ["LONGEST_WAIT", "READ_HEADERS", "after_of", "in_time", "wait_of"]

T = TypeVar("T")

READ_HEADERS = {
    "Refold-After": "A consistency token: the answer is not older than that. It is waited for; see Prefer.",
    "Prefer": "`wait=SECONDS`: how long Refold-After may wait, 5 unless given.",
}
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\"?\s*(?:$|[,;])")
LONGEST_WAIT = 25.0
"""Seconds: less than what the server gives any call, so that the answer says what was waited for."""


def after_of(call: Call) -> int | None:
    """The position that a read must not be older than, if one is given. Raises `Problem`."""
    token = call.header("Refold-After")
    if token is None:
        return None
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise Problem("invalid", f"Refold-After: {token!r} is no consistency token", field="Refold-After")
    return int(token)


def wait_of(call: Call, otherwise: float = 5.0) -> float:
    """How long a read may wait, in seconds; `otherwise` when the caller does not say."""
    found = _WAIT.search(call.header("Prefer") or "")
    return otherwise if found is None else min(float(found[1]), LONGEST_WAIT)


async def in_time(call: Call, reading: Awaitable[T]) -> T:
    """What a read gives. One that did not get there in time is a `Problem`: `ahead` when the log itself is not that
    long, else `stale`.
    """
    try:
        return await reading
    except StaleRead as error:
        head = (await call.context.store.head()).position
        if error.wanted > head:
            detail = f"the log ends at position {head}; there is no {error.wanted} to wait for"
            raise Problem("ahead", detail) from error
        raise problem_of(error) from error
