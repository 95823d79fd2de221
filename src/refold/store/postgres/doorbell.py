"""The doorbell between processes: notifications, sent on a connection of their own, and heard on a direct one.

Never in the appending transaction: there it costs half of the throughput, because the notifying commits of a whole
server are serial. Nothing depends on it; who waits also polls.
"""

from __future__ import annotations

import asyncio
import logging
import random

from refold.errors import RefoldError
from refold.store.doorbell import Doorbell
from refold.store.postgres.address import Address
from refold.store.postgres.connection import ConnectionLost, Session
from refold.store.postgres.problems import ServerProblem
from refold.store.postgres.wire import text

__all__ = ["Listener", "Notifier"]

_log = logging.getLogger("refold.store.postgres")
_BURST = 8
"""Notifications that may follow one another at once …"""
_RATE = 250.0
"""… and how many a second before the log counts as busy. Each costs about as much as an append of its own."""
_BUSY_PAUSE = 0.05
"""Seconds between them while it is busy: whoever follows finds events each time and so looks every 5 ms anyway."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 10.0
# The statement is lost in a crash without harm, so it need not wait for the disk.
_NOTIFY = b"select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"


class Notifier:
    """Says to other processes how far the log has got: at once, but for a log that grows faster than 250 times a second
    only now and then.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._channel = text(address.channel)
        self._said = 0
        self._position = 0
        self._allowed = float(_BURST)
        self._counted_at = 0.0
        self._grown = 0
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._under_way = False
        self._later: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self._quiet: asyncio.Future[None] | None = None

    def say(self, position: int) -> None:
        """The log has reached this position."""
        self._position = position
        self._grown += 1
        if not self._under_way and self._later is None:
            self._go_on()

    async def close(self) -> None:
        """Lets go of the connection, once the last position is said or cannot be."""
        self._closed = True
        if self._later is not None:
            self._later.cancel()
            self._later = None
            self._allowed = float(_BURST)
            self._go_on()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._session is not None:
            if self._under_way:
                self._quiet = self._loop.create_future()
                await asyncio.wait([self._quiet], timeout=1)
            self._session.drop("the store was closed")

    def _go_on(self) -> None:
        self._later = None
        if self._said >= self._position:
            return
        now = self._loop.time()
        self._allowed = min(self._allowed + (now - self._counted_at) * _RATE, float(_BURST))
        self._counted_at = now
        if self._allowed < 1:
            self._grown = 0
            if not self._closed:
                self._later = self._loop.call_later(_BUSY_PAUSE, self._after_busy)
            return
        session = self._session
        if session is None or session.lost:
            if self._connecting is None and not self._closed:
                self._connecting = self._loop.create_task(self._connect(), name="refold-notifier")
            return
        self._allowed -= 1
        self._said = self._position
        try:
            session.send(_NOTIFY, (self._channel, text(str(self._position))), self._answered)
            self._under_way = True
        except ConnectionLost:
            self._pause(_FIRST_PAUSE)

    def _after_busy(self) -> None:
        self._counted_at = self._loop.time()
        self._allowed = 1.0 if self._grown > _BUSY_PAUSE * _RATE else float(_BURST)
        self._go_on()

    def _pause(self, seconds: float) -> None:
        if not self._closed:
            self._later = self._loop.call_later(seconds, self._go_on)

    def _answered(self, result: object) -> None:
        # What was not heard is found by polling, and the next append rings again.
        self._under_way = False
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
        elif not self._closed and self._later is None:
            self._go_on()

    async def _connect(self) -> None:
        try:
            self._session = await Session.connect(self._address, "notifier")
        except RefoldError as problem:
            _log.debug("%s: notifications have to wait: %s", self._address.name, problem)
            await asyncio.sleep(1)
        finally:
            self._connecting = None
        self._go_on()


class Listener:
    """Hears other processes' notifications and rings the doorbell. Connects anew for ever, with growing pauses."""

    def __init__(self, address: Address, doorbell: Doorbell, *, surely_direct: bool) -> None:
        self._address = address
        self._doorbell = doorbell
        self._surely_direct = surely_direct
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to listen, if it does not already."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="refold-listener")

    async def close(self) -> None:
        """Stops listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                session = await Session.connect(self._address, "listener")
            except RefoldError as problem:
                _log.debug("%s: listening has to wait: %s", self._address.name, problem)
            else:
                try:
                    if not (self._surely_direct or session.direct):
                        _log.info(
                            "%s is behind a pooler: others' appends are found by polling; set a direct listen_url",
                            self._address.name,
                        )
                        return
                    heard = await self._listen(session)
                    pause = _FIRST_PAUSE if heard else pause
                except (ConnectionLost, ServerProblem) as problem:
                    _log.debug("%s: the listening connection was lost: %s", self._address.name, problem)
                finally:
                    session.drop("done listening")
                self._doorbell.ring_anyway()
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # spreads reconnections, guards nothing
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen(self, session: Session) -> bool:
        """Listens until the connection is lost; True when it had begun to."""
        over = asyncio.get_running_loop().create_future()

        def heard(payload: bytes) -> None:
            if payload.isdigit():
                self._doorbell.ring(int(payload))
            elif not session.lost:
                self._doorbell.ring_anyway()
            elif not over.done():
                over.set_result(None)

        session.listen(heard)
        await session.query(b'listen "' + self._address.channel.encode() + b'"')
        # Whatever was appended before this moment was not heard.
        self._doorbell.ring_anyway()
        await over
        return True
