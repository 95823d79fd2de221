"""Many commands over HTTP: several at a time; those for one stream one after the other, as a context decides them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from refold.app import App
from refold.commands.enveloped import Enveloped
from refold.commands.receipt import Receipt
from refold.errors import InvalidCommand, RefoldError
from refold.messages.event import Command

__all__ = ["execute_all"]

_AT_ONCE = 64
_SENT = ("command_id", "correlation_id", "causation_id")

Result = Receipt | RefoldError


async def execute_all(
    app: App, commands: Iterable[Command | Enveloped], execute: Callable[..., Awaitable[Receipt]]
) -> list[Result]:
    """One result for each command, in order: its receipt, or the error that it met."""
    wanted = list(commands)
    limit = asyncio.Semaphore(_AT_ONCE)
    results: dict[int, Result] = {}

    async def one(command: Command | Enveloped) -> Result:
        try:
            plain, more = _apart(command)
            async with limit:
                return await execute(plain, **more)
        except RefoldError as problem:
            return problem

    async def one_after_the_other(places: list[int]) -> None:
        for place in places:
            results[place] = await one(wanted[place])

    queues: dict[object, list[int]] = {}
    for place, command in enumerate(wanted):
        queues.setdefault(_stream_of(app, command) or place, []).append(place)
    await asyncio.gather(*(one_after_the_other(places) for places in queues.values()))
    return [results[place] for place in range(len(wanted))]


def _apart(given: Command | Enveloped) -> tuple[Command, dict[str, Any]]:
    """A command, and what of its envelope is sent. Raises `InvalidCommand` for what only a context takes."""
    if not isinstance(given, Enveloped):
        return given, {}
    more = {name: value for name, value in given.envelope({}).items() if value is not None}
    if strange := [name for name in more if name not in _SENT]:
        raise InvalidCommand(
            f"over HTTP a command takes no {strange[0]}= of its own: the server says who does it, and when"
        )
    return given.command, more


def _stream_of(app: App, given: Command | Enveloped) -> str | None:
    command = given.command if isinstance(given, Enveloped) else given
    for definition in app.aggregates.values():
        if type(command) in definition.decides:
            return definition.stream_of(getattr(command, definition.id_field))
    return None
