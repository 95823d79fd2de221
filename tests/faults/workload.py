"""A process that works on the bank and meets its fate at a named point.

    python -m tests.faults.workload URL FOLDER NAME POINT OCCURRENCE ACTION ROUNDS REBUILD

ACTION is kill, stop, raise, cut, swallow or none; POINT may be `-`, or two with a `>` between them: the line is cut at
the first, and ACTION happens at the second, on the way back from it. The process writes what it intends and what it is
told to FOLDER/NAME.journal, and each point that it passes to FOLDER/NAME.points. REBUILD is
rebuild or `-`: a rebuild at the end would heal what a fault broke in the read model. A folder with "inline" in its name
is for the bank with an inline read model.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path

import msgspec

from refold import faults
from refold.app import Context
from refold.errors import (
    AlreadyAppended,
    Conflict,
    InvalidAppend,
    OutcomeUnknown,
    Overloaded,
    RefoldError,
    Rejected,
    StoreUnavailable,
)
from refold.messages.ids import new_id
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, AppendCondition, Matching, StreamAppend
from tests.domain import AccountSummary, DepositMoney, OpenAccount, WithdrawMoney, bank, inline_bank
from tests.faults.journal import Journal
from tests.faults.proxy import CuttingProxy

CALLERS = 6


class Injected(Exception):
    """The fault that a test wanted."""


class Fate:
    """What happens at the named point: once, at its n-th occurrence; or at two points, one after the other."""

    def __init__(self, points: Path, point: str, occurrence: int, action: str, proxy: CuttingProxy | None) -> None:
        self._points = points
        self._seen: set[str] = set()
        first, _, second = point.partition(">")
        self._steps = [(first, occurrence, "cut"), (second, 1, action)] if second else [(first, occurrence, action)]
        self._proxy = proxy

    def __call__(self, point: str) -> None:
        if point not in self._seen:
            self._seen.add(point)
            with self._points.open("a") as file:
                file.write(point + "\n")
        if not self._steps or point != self._steps[0][0]:
            return
        _, left, action = self._steps[0]
        self._steps[0] = (point, left - 1, action)
        if left > 1 or action == "none":
            return
        del self._steps[0]
        if not self._steps:
            self._points.with_suffix(".fired").touch()
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif action == "raise":
            raise Injected(point)
        elif self._proxy is not None:
            (self._proxy.cut if action == "cut" else self._proxy.swallow)()


async def one_append(context: Context, journal: Journal, append: Append) -> None:
    """Appends, and writes down what became of it. An unknown outcome is settled as callers should: by the same id
    again.
    """
    name = append.id.hex
    journal.intend(name, append.size, append)
    for _ in range(5):
        try:
            result = await context.store.append(append)
        except (Conflict, InvalidAppend, Overloaded) as why:
            journal.refuse(name, why)
            return
        except OutcomeUnknown:
            continue
        except RefoldError:
            return
        journal.acknowledge(name, result.first, result.last)
        return


async def one_command(context: Context, journal: Journal, number: int, caller: int) -> None:
    command_id = new_id()
    command = (
        DepositMoney(account_id=f"hot{number % 2}", amount=Decimal(caller + 1)),
        WithdrawMoney(account_id=f"hot{number % 2}", amount=Decimal(1)),
        OpenAccount(account_id=f"{caller}-{number}", owner="alice"),
    )[number % 3]
    journal.intend(command_id.hex, 1)
    for _ in range(5):
        try:
            receipt = await context.execute(command, command_id=command_id)
        except (Rejected, Conflict, Overloaded):
            journal.refuse(command_id.hex)
            return
        except OutcomeUnknown:
            continue
        except (RefoldError, Injected):
            return
        journal.acknowledge(command_id.hex, receipt.position, receipt.position)
        return


async def an_append(context: Context, caller: int, number: int) -> Append:
    """One that mostly fits, and now and then rests on what others change at the same time."""
    event = NewEvent(type="MoneyDeposited", payload=b'{"amount":"1"}', tags=(f"caller:{caller}",))
    parts = [StreamAppend(f"account-a{caller}", ANY, (event,) * (1 + number % 3))]
    if number % 4 == 0:
        parts.append(StreamAppend("account-shared", ANY, (event,)))
    condition = None
    if number % 3 == 0:
        # A seat that two callers want: who has read the log before the other took it is refused.
        seat = f"seat:{caller % 3}"
        after = (await context.store.head()).position
        condition = AppendCondition((Matching(("Never",)), Matching((), (seat,))), after)
        event = msgspec.structs.replace(event, tags=(seat,))
        parts = [StreamAppend(f"account-a{caller}", ANY, (event,))]
    elif number % 3 == 1:
        version = await context.store.stream_version("account-read")
        parts.append(StreamAppend("account-read", version, (event,)))
    return Append(tuple(parts), new_id(), condition)


async def one_unit(context: Context, journal: Journal, caller: int, number: int) -> None:
    append_id = new_id()
    journal.intend(append_id.hex, 1)
    try:
        async with context.transaction() as unit:
            await unit.execute(f"insert into notes values ('{append_id.hex}')")
            await unit.command(DepositMoney(account_id=f"u{caller}", amount=Decimal(1)), command_id=append_id)
        (result,) = unit.results
        journal.acknowledge(append_id.hex, result.first, result.last)
    except (Conflict, Rejected, Overloaded, AlreadyAppended):
        journal.refuse(append_id.hex)
    except (RefoldError, Injected):
        return


async def work(context: Context, journal: Journal, rounds: int, rebuild: bool) -> None:
    async def caller(number: int) -> None:
        for turn in range(rounds):
            await head_of(context)
            with contextlib.suppress(StoreUnavailable, Injected):
                await one_append(context, journal, await an_append(context, number, turn))
            await one_command(context, journal, turn, number)
            if turn % 4 == 3:
                await one_unit(context, journal, number, turn)

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    if rebuild:
        with contextlib.suppress(RefoldError, Injected):
            await context.rebuild(AccountSummary)


async def follow(context: Context, path: Path, seen: list[int]) -> None:
    """A subscriber that writes down what it sees, and goes on after the last of it when something fails."""
    with path.open("a", buffering=1) as file:
        while True:
            with contextlib.suppress(RefoldError, Injected):
                async for recorded in context.subscribe(after=seen[0]):
                    file.write(f"{recorded.position} {recorded.stored.append_id.hex()}\n")
                    seen[0] = recorded.position
            await asyncio.sleep(0.01)


async def head_of(context: Context) -> int:
    """The log's last position, once the store is there: who went on without it would use up all rounds meanwhile."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StoreUnavailable, Injected):
                return (await context.store.head()).position
            await asyncio.sleep(0.05)


async def seen_to_the_end(context: Context, seen: list[int]) -> None:
    head = await head_of(context)
    async with asyncio.timeout(30):
        while seen[0] < head:
            await asyncio.sleep(0.01)


async def main(
    url: str, folder: Path, name: str, point: str, occurrence: int, action: str, rounds: int, rebuild: bool
) -> None:
    proxy = CuttingProxy(url) if action in ("cut", "swallow") or ">" in point else None
    app = inline_bank if "inline" in folder.name else bank
    async with app.connect(url if proxy is None else proxy.url, lease=1.0) as context:
        with contextlib.suppress(Exception):
            async with context.transaction() as unit:
                await unit.execute("create table if not exists notes (append_id text primary key)")
        faults.install(Fate(folder / f"{name}.points", point, occurrence, action, proxy))
        seen = [0]
        following = asyncio.create_task(follow(context, folder / f"{name}.seen", seen))
        await work(context, Journal(folder / f"{name}.journal"), rounds, rebuild)
        faults.install(None)
        await seen_to_the_end(context, seen)
        following.cancel()
    if proxy is not None:
        (folder / f"{name}.cuts").write_text(str(proxy.cuts))


if __name__ == "__main__":
    url, folder, name, point, occurrence, action, rounds, rebuild = sys.argv[1:]
    asyncio.run(main(url, Path(folder), name, point, int(occurrence), action, int(rounds), rebuild == "rebuild"))
