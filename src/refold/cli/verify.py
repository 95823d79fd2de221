"""`refold verify`: whether what was promised holds."""

from __future__ import annotations

import click
from rich.text import Text

from refold.cli.command import Command, app_options, json_option, optional_app_of_settings
from refold.cli.exit_codes import FOUND, OK
from refold.cli.printing import console, count, print_json
from refold.cli.progress import shown_progress
from refold.cli.store import on_store_and_sink
from refold.operations.verify import Check, Report
from refold.operations.verify import verify as verify_store
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["verify"]


@click.command("verify", cls=Command, short_help="Check the log, and that everything equals its fold.")
@json_option
@app_options
def verify(as_json: bool) -> int:
    """Check that what Refold promises holds on this store, and end with 1 when something is wrong.

    The log: positions and versions without gaps, times that never go back, whole appends, readable payloads, tags,
    and the database's own guards against changes. With an app: every event can be read by its class, and every
    snapshot and every row of every read model equals the fold of the events.

    It only reads, with little memory however long the log is, and may run while the application does. It takes as
    long as reading the log once, and once more for each read model.
    """
    app = optional_app_of_settings()

    async def work(store: EventStore, sink: Sink) -> Report:
        with shown_progress() as progress:
            return await verify_store(store, sink, app, progress=progress)

    report = on_store_and_sink(work)
    if as_json:
        print_json({"ok": report.ok, "store": report.store, "head": report.head, "checks": report.checks})
    else:
        _print(report, with_app=app is not None)
    return OK if report.ok else FOUND


def _print(report: Report, *, with_app: bool) -> None:
    target = console()
    target.print(Text(report.store, style="bold") + Text(f", up to position {count(report.head)}"), soft_wrap=True)
    target.print()
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        target.print(_line(check, width), soft_wrap=True)
        for finding in check.findings:
            target.print(Text(f"{'':9}{finding.where}: {finding.problem}"), soft_wrap=True)
        if check.broken > len(check.findings):
            target.print(f"{'':9}and {count(check.broken - len(check.findings))} more", soft_wrap=True)
    target.print()
    broken = sum(check.broken for check in report.checks)
    skipped = sum(check.skipped is not None for check in report.checks)
    if broken:
        target.print(Text(f"{count(broken)} finding{'s' if broken > 1 else ''}", style="bold red"))
    else:
        target.print(Text("everything that was checked holds", style="bold green"))
    if skipped:
        target.print(f"{skipped} check{'s were' if skipped > 1 else ' was'} skipped")
    if not with_app:
        target.print(
            "Without an app (--app), snapshots and read models are not compared with the events.", soft_wrap=True
        )


def _line(check: Check, width: int) -> Text:
    if check.skipped is not None:
        return Text("skipped  ", style="yellow") + Text(f"{check.name:<{width}}  {check.skipped}")
    mark = Text("ok       ", style="green") if check.ok else Text("WRONG    ", style="bold red")
    looked = f" ({count(check.looked_at)})" if check.looked_at else ""
    return mark + Text(f"{check.name:<{width}}  {check.promise}{looked}")
