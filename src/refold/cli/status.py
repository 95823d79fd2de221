"""`refold status`: where everything stands."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import click
from rich.live import Live
from rich.text import Text

from refold.app import App
from refold.cli.command import Command, app_options, json_option, optional_app_of_settings
from refold.cli.exit_codes import FOUND, OK
from refold.cli.printing import Column, console, count, duration, moment, print_json, rate, table_of
from refold.cli.store import on_store_and_sink
from refold.errors import StoreUnavailable
from refold.operations.status import ProjectionStatus, Status, document_of, measured_status, status_of
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["status"]

_STYLES = {
    "running": "green",
    "inline": "green",
    "rebuilding": "cyan",
    "failing": "yellow",
    "paused": "yellow",
    "no worker": "yellow",
    "abandoned": "yellow",
    "previous": "dim",
    "unknown": "dim",
    "stopped": "bold red",
    "stalled": "bold red",
    "definition changed": "bold red",
    "other log": "bold red",
    "refused": "bold red",
    "away": "bold red",
}


@click.command("status", cls=Command, short_help="Show the log's head, and how far each projection is.")
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C or SIGTERM.")
@json_option
@app_options
def status(watch: bool, as_json: bool) -> int:
    """Show where the log stands, and for each projection its position, how far it is behind, and who moves it.

    The lag in time is the age of the first event that a projection has not seen. It ends with 1 when a
    projection has stopped, is stalled or has parked rows, its definition has changed, it is of another log,
    or its store refuses it or is away. With --watch, --json prints one line each second; while the log's store is
    away it says so, and goes on. Without an app it is not seen whether a definition has changed.
    """
    app = optional_app_of_settings()
    if watch:
        on_store_and_sink(lambda store, sink: _watch(store, sink, app, as_json))
        return OK
    now = on_store_and_sink(lambda store, sink: measured_status(store, sink, app))
    if as_json:
        print_json(document_of(now))
    else:
        console().print(_screen(now), soft_wrap=True)
    return OK if now.ok else FOUND


async def _watch(store: EventStore, sink: Sink, app: App | None, as_json: bool) -> None:
    seconds = _every_second(store, sink, app)
    if as_json:
        async for now in seconds:
            print_json(_away(now) if isinstance(now, StoreUnavailable) else document_of(now), compact=True)
        return
    with Live(Text(store.name), console=console(), screen=False, auto_refresh=False) as live:
        last = Text(store.name, style="bold")
        async for now in seconds:
            if isinstance(now, StoreUnavailable):
                live.update(last + Text(f"\n\nthe store is away: {now}", style="bold red"), refresh=True)
            else:
                last = _screen(now)
                live.update(last, refresh=True)


async def _every_second(store: EventStore, sink: Sink, app: App | None) -> AsyncIterator[Status | StoreUnavailable]:
    """The status, or that the store is away, until somebody asks to stop."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    before: Status | None = None
    while not stopping.is_set():
        try:
            before = await status_of(store, sink, app, before=before)
        except StoreUnavailable as problem:
            yield problem
        else:
            yield before
        try:
            async with asyncio.timeout(1):
                await stopping.wait()
        except TimeoutError:
            continue


def _away(problem: StoreUnavailable) -> dict[str, object]:
    return {"at": datetime.now(UTC), "ok": False, "error": str(problem)}


def _screen(now: Status) -> Text:
    text = Text()
    text.append(now.store, style="bold")
    if now.head:
        ago = duration(max(0.0, time.time() - now.recorded_at / 1_000_000))
        text.append(f"\nhead {count(now.head)}, recorded {moment(now.recorded_at)} ({ago} ago), {rate(now.rate)}")
    else:
        text.append("\nthe log is empty")
    if not now.projections:
        return text.append("\nno projection")
    columns = [
        Column("projection"),
        Column("position", "right", spare=2),
        Column("behind", "right"),
        Column("lag", "right"),
        Column("rate", "right", spare=1),
        Column("state"),
        Column("owner", spare=3),
    ]
    text.append("\n\n")
    text.append_text(table_of(columns, [_row(each) for each in now.projections]))
    for each in now.projections:
        if each.parked:
            text.append(f"\n\n{each.name}: ", style="bold red")
            text.append(f"parked rows: {each.parked}; see `refold parked list`")
        if each.seconds_left is not None:
            text.append(f"\n\n{each.name}: ", style="bold").append(f"{duration(each.seconds_left)} left")
        if each.error:
            style = "bold" if each.state == "rebuilding" else "bold red"
            text.append(f"\n\n{each.name}: ", style=style).append(each.error)
    return text


def _row(each: ProjectionStatus) -> list[str | Text]:
    return [
        each.name,
        count(each.position),
        count(each.lag),
        duration(each.lag_seconds) if each.lag else "-",
        rate(each.rate),
        Text(each.state, style=_STYLES[each.state]),
        each.owner or "-",
    ]
