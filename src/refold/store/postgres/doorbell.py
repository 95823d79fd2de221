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
_INTERVAL = 0.002
"""Seconds between two notifications, at least."""
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 10.0
# The statement is lost in a crash without harm, so it need not wait for the disk.
_NOTIFY = b"select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"


class Notifier:
    """Says to other processes how far the log has got: at once, then at most every two milliseconds."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._said = 0
        self._position = 0
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._quiet_until = 0.0

    def say(self, position: int) -> None:
        """The log has reached this position."""
        self._position = position
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="refold-notifier")

    async def close(self) -> None:
        """Says the last position, then lets go of the connection."""
        if self._task is not None and not self._task.done():
            await self._task
        if self._session is not None:
            self._session.drop("the store was closed")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._said < self._position:
            position = self._position
            if loop.time() >= self._quiet_until:
                await self._notify(position)
            self._said = position
            await asyncio.sleep(_INTERVAL)

    async def _notify(self, position: int) -> None:
        try:
            if self._session is None or self._session.lost:
                self._session = await Session.connect(self._address, "notifier")
            await self._session.query(_NOTIFY, (text(self._address.channel), text(str(position))))
        except (RefoldError, ConnectionLost, ServerProblem) as problem:
            # The next appends ring again; meanwhile the others poll.
            _log.debug("%s: a notification was not sent: %s", self._address.name, problem)
            self._quiet_until = asyncio.get_running_loop().time() + 1


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
                    if not await self._direct(session):
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

    async def _direct(self, session: Session) -> bool:
        """Whether it is the server's own: through a pooler, the process id named at login is not the backend's."""
        if self._surely_direct:
            return True
        result = await session.query(b"select pg_backend_pid()")
        value = result.get_value(0, 0) or b""
        return int.from_bytes(value, "big") == session.connection.info.backend_pid

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
