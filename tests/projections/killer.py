"""A worker whose fold kills it: `python -m tests.projections.killer URL LEASE DEADLY WHICH [POINT] [KIND]`.

DEADLY names what kills it (`none`: nothing does), WHICH says whether its read model `stops` or `parks`, and it says
`quiet` when it has. It dies at POINT too. With KIND (retry, release, skip) it does not follow the log, and has the row
`a` dealt with.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from refold import faults
from refold.app import App, Context
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import STOPPED

DEADLY: set[str] = set()


class Put(Event, name="Put"):
    what: str


def _take(things: list[str], what: str) -> list[str]:
    if what in DEADLY:
        os._exit(9)
    if what == "bad" and "bad" not in MENDED:
        raise ZeroDivisionError("cannot take bad")
    return [*things, what]


MENDED: set[str] = set()


class Stops(ReadModel, key="id"):
    id: str
    things: list[str] = []

    @evolve
    def put(self, event: Put) -> None:
        self.things = _take(self.things, event.what)


class Parks(ReadModel, key="id", on_error="park"):
    id: str
    things: list[str] = []

    @evolve
    def put(self, event: Put) -> None:
        self.things = _take(self.things, event.what)


class Bystander(ReadModel, key="id"):
    """Its events are never to blame."""

    id: str
    count: int = 0

    @evolve
    def put(self, event: Put) -> None:
        self.count += 1


stopping = App("killer", read_models=[Stops, Bystander])
parking = App("killer", read_models=[Parks, Bystander])


async def _work(url: str, lease: float, deadly: str, app: App, point: str, ask: Any) -> None:
    def die(passed: str) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    DEADLY.update(deadly.split(","))
    if ask:
        MENDED.add("bad")
    async with app.connect(url, lease=lease, projections=not ask) as context:
        if point:
            faults.install(die)
        print("ready", flush=True)
        if ask:
            definition: Any = read_model_of(Parks)
            await context.projections.operator.ask(
                definition,
                "a",
                ask,
                actor="ann",
                reason="it was mended",
                timeout=30,
            )
            print("done", flush=True)
        else:
            while not await _quiet(context):
                await asyncio.sleep(0.01)
            print("quiet", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _quiet(context: Context) -> bool:
    """Whether what kills is left alone by now, in the store, for all to see."""
    stopped = any(each.status == STOPPED for each in await context.projections.checkpoints())
    return stopped or bool(await context.projections.parked())


if __name__ == "__main__":
    arguments: list[Any] = [*sys.argv[1:], *[""] * 4]
    chosen = parking if arguments[3] == "parks" else stopping
    asyncio.run(_work(arguments[0], float(arguments[1]), arguments[2], chosen, arguments[4], arguments[5]))
