"""`refold worker`: the process that keeps read models current."""

from __future__ import annotations

import asyncio
import logging
import signal

import click

from refold.app import Context
from refold.cli.command import Command, app_options
from refold.cli.exit_codes import FOUND, OK
from refold.cli.lines import WarningLines, say
from refold.cli.printing import count, duration, rate
from refold.cli.store import on_context
from refold.errors import StoreUnavailable
from refold.operations.endpoints import Endpoints, parsed_address
from refold.operations.monitor import Monitor
from refold.operations.status import ProjectionStatus, Status, status_of
from refold.operations.worker import Stopped, catch_up, stopped_in, work
from refold.projections.watchdog import PATIENCE_SECONDS

__all__ = ["worker"]

_EVERY = 15.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command("worker", cls=Command, short_help="Keep the read models current, until it is stopped.")
@click.option("--once", is_flag=True, help="End as soon as every read model has seen what is in the log now.")
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    help="Serve /metrics, /livez, /readyz and /status there; on the loopback unless a host is given.",
)
@click.option(
    "--patience",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=PATIENCE_SECONDS,
    show_default=True,
    help="How long a read model may stand still while there is something to do.",
)
@app_options
def worker(once: bool, metrics: str | None, patience: float) -> int:
    """Keep the app's read models current, until Ctrl-C or SIGTERM; both end it in order, after the page at hand.

    Several workers on one Postgres database share the work: each read model has one owner at a time, and another takes
    over when that one ends or dies. On SQLite the application itself keeps them current; there, a worker is for when it
    does not run.

    It prints a line four times a minute, and on stderr, at once, what goes wrong: a store that is away, a projection
    that stops or is stalled. It goes on whatever happens, and ends with 1 when a projection stands still at the end.
    """
    logging.getLogger("refold").addHandler(WarningLines(logging.WARNING))
    if metrics is not None:
        parsed_address(metrics)  # refused before anything is opened
    work_on = _once if once else _until_stopped

    async def watched(context: Context) -> list[Stopped]:
        if metrics is None:
            return await work_on(context)
        async with Monitor(context) as monitor:
            with Endpoints(monitor, metrics) as endpoints:
                if not once:
                    say(f"serving {endpoints.url}/metrics")
                return await work_on(context)

    stopped = on_context(watched, projections=True, patience=patience)
    return FOUND if stopped else OK


async def _once(context: Context) -> list[Stopped]:
    head = (await context.store.head()).position
    stopped = await catch_up(context)
    told = {each.name for each in stopped_in(context)}
    for each in stopped:
        if each.name not in told:
            what = "projection" if each.name in context.app.projections else "read model"
            say(f"{what} {each.name} stands still: {each.error}", problem=True)
    if not stopped:
        click.echo(f"every read model has seen position {count(head)}")
    return stopped


async def _until_stopped(context: Context) -> list[Stopped]:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        # Whoever asks a second time does not want to wait any longer.
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    before: Status | None = None

    async def report() -> None:
        nonlocal before
        try:
            before = await status_of(context.store, context.projections.sink, context.app, before=before)
        except StoreUnavailable as problem:
            say(str(problem), problem=True)
        else:
            say(_summary(before))

    followed = [each.name for each in context.projections.definitions]
    followed += [each.name for each in context.projections.declared]
    names = ", ".join(followed) or "no read model"
    say(f"working on {context.store.name}: {names}")
    await work(stopping, report=report, every=_EVERY)
    say("stopping, after the page at hand")
    return stopped_in(context)


def _summary(now: Status) -> str:
    mine = [each for each in now.projections if each.state not in ("unknown", "rebuilding", "abandoned", "previous")]
    return ", ".join([f"head {count(now.head)} ({rate(now.rate)})", *(_of(each) for each in mine)])


def _of(each: ProjectionStatus) -> str:
    if each.wrong or each.state in ("failing", "paused"):
        parked = f" ({each.parked} parked)" if each.parked else ""
        return f"{each.name} {each.state} at {count(each.position)}{parked}"
    if not each.lag:
        return f"{each.name} current"
    speed = f" at {rate(each.rate)}" if each.rate is not None else ""
    return f"{each.name} {count(each.lag)} behind ({duration(each.lag_seconds)}){speed}"
