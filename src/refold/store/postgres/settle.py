"""Settling what a lost connection left behind: its statement is ended, and what became of it is found out."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from refold import faults
from refold.errors import RefoldError, StoreUnavailable
from refold.store.postgres.address import Address
from refold.store.postgres.connection import ConnectionLost, Session
from refold.store.postgres.problems import ServerProblem
from refold.store.postgres.wire import Parameter, text

__all__ = ["answered", "end_session", "reconnected"]

_log = logging.getLogger("refold.store.postgres")
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
_END = b"""
select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()"""


async def reconnected(address: Address, role: str, lost: str, deadline: float) -> Session:
    """A new session, tried for until the deadline (the loop's time); the lost one (by application name) is over then.

    Raises `StoreUnavailable` when the server did not come back in time.
    """
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE
    while True:
        faults.at("postgres.reconnect")
        session: Session | None = None
        try:
            async with asyncio.timeout_at(max(deadline, loop.time() + 10 * _FIRST_PAUSE)):
                session = await Session.connect(address, role)
                if lost:
                    await end_session(session, lost)
                return session
        except (TimeoutError, RefoldError, ConnectionLost, ServerProblem) as problem:
            if session is not None:
                session.drop("it could not be used")
            if loop.time() + pause > deadline:
                if isinstance(problem, RefoldError):
                    raise
                reason = str(problem) or "no answer in time"
                raise StoreUnavailable(f"{address.name} did not come back in time: {reason}") from problem
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # spreads reconnections, guards nothing
        pause = min(pause * 2, _LONGEST_PAUSE)


async def end_session(session: Session, lost: str) -> None:
    """Makes sure that a lost session's statement is over: it must not store later what is answered as failed now."""
    faults.at("postgres.settle")
    while (await session.query(_END, (text(lost),))).ntuples:  # noqa: ASYNC110  # the server tells nobody that it is gone
        await asyncio.sleep(_FIRST_PAUSE)


async def answered(address: Address, lost: str, question: bytes, parameters: Sequence[Parameter]) -> str | None:
    """What the server answers to a question about what a lost session left, once that session is over. Raises
    `StoreUnavailable`.
    """
    session = await reconnected(address, "settler", lost, asyncio.get_running_loop().time() + 3600)
    try:
        result = await session.query(question, parameters)
    except (ConnectionLost, ServerProblem) as problem:
        raise StoreUnavailable(f"{address.name}: {problem}") from problem
    finally:
        session.drop("settled")
    value = result.get_value(0, 0)
    return None if value is None else value.decode()
