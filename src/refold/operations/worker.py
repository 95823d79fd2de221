"""A worker: a process that keeps an app's read models current, and says how they are doing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from refold.app import Context
from refold.folds.read_model import ReadModelDefinition
from refold.projections.checkpoint import CHANGED, REFUSED, RUNNING, STOPPED, Checkpoint
from refold.projections.sink import previous

__all__ = ["Stopped", "catch_up", "stopped_in", "work"]

_LOOK = 0.25


class Stopped(msgspec.Struct, frozen=True):
    """A projection that stands still, and why."""

    name: str
    error: str


def stopped_in(context: Context) -> list[Stopped]:
    """The projections of this process that stand still until somebody does something about it."""
    found = []
    for definition in context.projections.definitions:
        for local in context.projections.here(definition.name):
            builds = local.status == CHANGED and not local.stands
            if local.status != RUNNING and not builds:
                found.append(Stopped(definition.name, local.error))
                break
    running = context.projections.running()
    for declared in context.projections.declared:
        by_hand = running.get(declared.name)
        if by_hand is not None and by_hand.status != RUNNING:
            found.append(Stopped(declared.name, by_hand.error))
    return found


async def catch_up(context: Context) -> list[Stopped]:
    """Waits until every read model and hand-written projection has seen what is in the log now, by whatever process;
    gives those that stopped, in whatever process, or that their store does not let in.

    Inline ones have caught up when the context opens; they are given when appends to them are refused.
    """
    head = (await context.store.head()).position
    definitions = context.projections.definitions
    waiting = {definition.name for definition in definitions if not definition.inline}
    waiting |= {declared.name for declared in context.projections.declared}
    elsewhere = _refused(definitions, await context.projections.checkpoints())
    seen: dict[str, Checkpoint] = {}
    while True:
        here = stopped_in(context)
        checkpoints = {checkpoint.name: checkpoint for checkpoint in await context.projections.checkpoints()}
        for name in waiting & checkpoints.keys():
            refused = checkpoints[name].status == REFUSED
            if refused or _lives_stopped(context, seen, checkpoints[name]):
                elsewhere.append(Stopped(name, checkpoints[name].error))
        stopped = {each.name: each for each in (*elsewhere, *here)}
        waiting = {name for name in waiting - stopped.keys() if _position(context, checkpoints, name) < head}
        if not waiting:
            return list(stopped.values())
        name = next(iter(waiting))
        running = context.projections.running()
        local = [each for part, each in running.items() if part.partition(":")[0] == name]
        if local:
            last = min(local, key=lambda each: each.applied.position)
            await last.applied.wait_beyond(last.applied.position, _LOOK)
        else:
            await asyncio.sleep(_LOOK)


def _position(context: Context, checkpoints: Mapping[str, Checkpoint], name: str) -> int:
    """How far a hand-written projection is, or the rows of this app's definition: those that are read, or, beside
    another release, the previous.
    """
    if any(declared.name == name for declared in context.projections.declared):
        return checkpoints[name].position if name in checkpoints else -1
    definition = next(each for each in context.projections.definitions if each.name == name)
    for table in (name, previous(name)):
        checkpoint = checkpoints.get(table)
        if checkpoint is not None and checkpoint.fingerprint == definition.fingerprint:
            return checkpoint.position
    return -1


def _refused(definitions: Sequence[ReadModelDefinition], checkpoints: Sequence[Checkpoint]) -> list[Stopped]:
    """The inline read models that no append can change until they are rebuilt."""
    inline = {definition.name: definition for definition in definitions if definition.inline}
    found = []
    for checkpoint in checkpoints:
        definition = inline.get(checkpoint.name)
        if definition is None:
            continue
        if checkpoint.fingerprint != definition.fingerprint:
            found.append(Stopped(checkpoint.name, f"its definition changed; run `refold rebuild {checkpoint.name}`"))
        elif checkpoint.status == STOPPED:
            found.append(Stopped(checkpoint.name, checkpoint.error))
    return found


def _lives_stopped(context: Context, seen: dict[str, Checkpoint], now: Checkpoint) -> bool:
    """Whether another process holds a read model that has stopped. `seen` keeps how each was found first.

    One that died holds it until its lease is over: only a lease that goes on shows that nobody here will get it.
    """
    if now.status != STOPPED or now.owner in ("", context.projections.owner):
        return False
    first = seen.get(now.name)
    if first is None or first.epoch != now.epoch:
        seen[now.name] = now
        return False
    return now.lease_until > first.lease_until


async def work(stopping: asyncio.Event, *, report: Callable[[], Awaitable[None]], every: float) -> None:
    """Calls `report` at first and then every so many seconds, until `stopping` is set. The context does the work."""
    while not stopping.is_set():
        await report()
        try:
            async with asyncio.timeout(every):
                await stopping.wait()
        except TimeoutError:
            pass
