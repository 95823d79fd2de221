"""An answer's head and body are sent to the network at once: each write is a call of the system, and wakes the client.

uvicorn writes them one after the other. What is written during one turn of the event loop is gathered here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["OneWrite"]


class OneWrite(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # uvicorn chooses it by what is installed
    """uvicorn's protocol, on a transport that gathers."""

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(_Gathering(transport, self.loop))


class _Gathering:
    """A transport that writes at the end of the turn what was written in it. The rest it leaves to the real one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> None:
        """Writes it at the end of this turn."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(piece)

    def close(self) -> None:
        """Closes, when all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        whole, self._pieces = b"".join(self._pieces), []
        # The client may have gone since.
        if whole and not self._transport.is_closing():
            self._transport.write(whole)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
