"""`refold verify`: whether what was promised holds."""

from __future__ import annotations

import secrets

import click
import msgspec
from rich.text import Text

from refold.cli.command import Command, app_options, json_option, optional_app_of_settings
from refold.cli.exit_codes import FOUND, OK
from refold.cli.printing import console, count, print_hanging, print_json
from refold.cli.progress import shown_progress
from refold.cli.store import on_store_and_sink
from refold.operations.verify import Check, Report, Sample
from refold.operations.verify import verify as verify_store
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["verify"]


@click.command("verify", cls=Command, short_help="Check the log, and that everything equals its fold.")
@click.option(
    "--sample",
    metavar="N%",
    callback=lambda context, parameter, value: _percent(value),
    help="Check a random part only: about N percent of streams, rows and snapshots.",
)
@click.option("--seed", metavar="N", type=click.IntRange(0), help="With --sample: take the same part as that run.")
@click.option("--online", is_flag=True, help="Leave room to an application that works: small pages, and rests.")
@json_option
@app_options
def verify(sample: float | None, seed: int | None, online: bool, as_json: bool) -> int:
    """Check that what Refold promises holds on this store, and end with 1 when something is wrong.

    The log: positions and versions without gaps, times that never go back, whole appends, readable payloads, tags,
    and the database's own guards against changes. With an app: every event can be read by its class, and every
    snapshot and every row of every read model equals the fold of the events.

    It only reads, with little memory however long the log is, and may run while the application does. It takes as
    long as reading the log once, and once more for each read model.

    With --sample it takes about as much less time as there is less to look at, but for listing streams, rows and
    snapshots. A read model whose rows gather events of many streams is compared as a whole, in N of 100 samples. Each
    time it is another part; the seed that is printed gives the same again.
    """
    if seed is not None and sample is None:
        raise click.UsageError("--seed goes with --sample")
    app = optional_app_of_settings()
    part = None if sample is None else Sample(sample, secrets.randbelow(10**6) if seed is None else seed)

    async def work(store: EventStore, sink: Sink) -> Report:
        with shown_progress() as progress:
            return await verify_store(store, sink, app, sample=part, online=online, progress=progress)

    report = on_store_and_sink(work)
    if as_json:
        print_json({"ok": report.ok, **msgspec.structs.asdict(report)})
    else:
        _print(report, with_app=app is not None)
    return OK if report.ok else FOUND


def _percent(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        percent = float(value.removesuffix("%"))
    except ValueError:
        percent = 0
    if not 0 < percent <= 100:
        raise click.BadParameter(f"{value!r} is no percentage, as in 5%")
    return percent


def _print(report: Report, *, with_app: bool) -> None:
    target = console()
    top = Text(report.store, style="bold") + Text(f", up to position {count(report.head)}")
    if report.percent is not None:
        top += Text(f"; a sample of {report.percent:g} %, --seed {report.seed}")
    target.print(top, soft_wrap=True)
    target.print()
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        print_hanging(*_line(check, width))
        for finding in check.findings:
            print_hanging(Text(" " * 9), Text(f"{finding.where}: {finding.problem}"))
        if check.broken > len(check.findings):
            target.print(f"{'':9}and {count(check.broken - len(check.findings))} more", soft_wrap=True)
        name = check.name.removeprefix("read model ")
        if name != check.name and any(finding.where.startswith("row ") for finding in check.findings):
            cure = f"`refold rebuild {name}` folds all rows anew, `refold refold {name} KEY` a single one"
            print_hanging(Text(" " * 9), Text(cure))
        if check.uncompared:
            print_hanging(
                Text(" " * 9), Text(f"{count(check.uncompared)} could not be compared: they never stood still")
            )
        for note in check.notes:
            print_hanging(Text(" " * 9), Text(note))
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


def _line(check: Check, width: int) -> tuple[Text, Text]:
    name = Text(f"{check.name:<{width}}  ")
    if check.skipped is not None:
        return Text("skipped  ", style="yellow") + name, Text(check.skipped)
    mark = Text("ok       ", style="green") if check.ok else Text("WRONG    ", style="bold red")
    return mark + name, Text(f"{check.promise}{_looked_at(check)}")


def _looked_at(check: Check) -> str:
    if not check.looked_at:
        return ""
    first, last = check.first_position, check.last_position
    if first is None or last is None:
        return f" ({count(check.looked_at)})"
    where = f"position {count(first)}" if first == last else f"positions {count(first)} to {count(last)}"
    return f" ({count(check.looked_at)}, at {where})"
