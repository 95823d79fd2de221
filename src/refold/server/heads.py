"""Heads of requests: how long, and for how long, one may be. uvicorn knows no bound for either with httptools, and
nobody has been recognised before a head is whole.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedHeads"]

_LONGEST = 64 * 1024
_SECONDS = 30.0


class BoundedHeads(HttpToolsProtocol):
    """A connection that is closed when a head is too long, or does not come to its end in time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._length = 0
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begins to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no longer."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what has come; none of it is kept once a head is too long."""
        before = self._waiting
        super().data_received(data)
        # Of a head that began in these data it is not known how much is of what came before it.
        if self._waiting is not None and self._waiting is before:
            self._length += len(data)
            if self._length > _LONGEST:
                self._refuse("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._wait_no_more()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._wait_no_more()
        self._length = 0
        self._waiting = self.loop.call_later(_SECONDS, self._refuse, "The head of the request took too long.")

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self, why: str) -> None:
        self._wait_no_more()
        if not self.transport.is_closing():
            # uvicorn says that there is always a cycle; before the first request there is none.
            cycle: Any = self.cycle
            if cycle is None or cycle.response_complete:
                self.send_400_response(why)
            else:
                self.transport.close()
