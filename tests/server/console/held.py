"""The bank, whose rebuilds take a page of a few events, and then wait until a test lets them go on.

What a fault point runs would hold up the whole server, which is to be looked at meanwhile. So it is between two pages
that a rebuild waits here, where it keeps its lease and obeys operators. Only a server of the tests may import this:
whoever does has such rebuilds.
"""

from __future__ import annotations

import asyncio
import os

from refold.projections import rebuild, rebuild_orders
from tests.server.console.domain import app
from tests.server.console.gate import GATE, PAGE

__all__ = ["app"]

_LOOK = 0.05


class _SmallPages:
    page = PAGE
    active = False

    async def rest(self, folded: int, head: int) -> None:
        """Goes on at once."""


class _Held(rebuild._Building):
    async def keep(self) -> None:
        """Knocks at the gate, and does between two pages what is always done there until it is let through."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ[GATE]))
        except ConnectionRefusedError:
            return await super().keep()
        let_through = asyncio.ensure_future(reader.read())
        try:
            while not let_through.done():
                await super().keep()
                await asyncio.wait({let_through}, timeout=_LOOK)
        finally:
            let_through.cancel()
            writer.close()


vars(rebuild).update(GiveWay=_SmallPages, _Building=_Held, _TOLD_EVERY=0.0)
vars(rebuild_orders).update(_LOOK_EVERY=_LOOK)
