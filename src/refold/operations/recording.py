"""What operators do, in the log of operations: also what came to nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from refold.app import Context
from refold.errors import RefoldError, unexpected_in_words

__all__ = ["recorded"]


@asynccontextmanager
async def recorded(context: Context, operation: str, target: str, *, actor: str) -> AsyncIterator[dict[str, Any]]:
    """Adds to the log of operations what is done in the block, at its end, with the details that the block fills in; or
    with the error under `failed`, which is raised on.
    """
    details: dict[str, Any] = {}
    record = context.projections.record_operation
    try:
        yield details
    except Exception as problem:
        details["failed"] = str(problem) if isinstance(problem, RefoldError) else unexpected_in_words(problem)
        with contextlib.suppress(RefoldError):  # the store may be what failed
            await record(operation, target, actor=actor, details=details)
        raise
    await record(operation, target, actor=actor, details=details)
