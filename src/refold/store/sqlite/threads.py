"""A thread of its own for a connection: SQLite calls block, and a connection is used by one thread at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Thread"]

P = ParamSpec("P")
T = TypeVar("T")


class Thread:
    """Runs functions one after the other in one thread."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function in the thread and waits for its result. Once begun it runs to its end, also when the caller
        is cancelled.
        """
        future = asyncio.wrap_future(self._executor.submit(function, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                future.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def close(self) -> None:
        """Waits for what runs, then ends the thread."""
        self._executor.shutdown(wait=True)
