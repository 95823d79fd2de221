"""`refold replay-test`: today's code over a recorded log, compared with a baseline."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import msgspec
from rich.text import Text

from refold.cli.command import Command, app_of_settings, app_options, json_option, settings
from refold.cli.exit_codes import FOUND, OK
from refold.cli.printing import console, count, moment, print_json
from refold.cli.progress import shown_progress
from refold.operations.replay import (
    Difference,
    EventFailure,
    FoldReport,
    RecordedSummary,
    ReplayReport,
    replay_source,
)

__all__ = ["failure_lines", "fold_lines", "replay_test"]

_WIDTH = 2_000


@click.command("replay-test", cls=Command, short_help="Run today's code over a recorded log, and compare.")
@click.argument("source", required=False)
@click.option("--baseline", metavar="FILE", help="Compare with this baseline.")
@click.option("--save", metavar="FILE", help="Write a baseline, to compare with later.")
@click.option(
    "--every",
    metavar="N",
    type=click.IntRange(1),
    help="With --save: look at states after each N positions only (1 unless given, which finds the very event).",
)
@click.option(
    "--show", metavar="N", type=click.IntRange(0), default=5, help="Explain the first N differences of each (5)."
)
@json_option
@app_options
def replay_test(
    source: str | None, baseline: str | None, save: str | None, every: int | None, show: int, as_json: bool
) -> int:
    """Fold a recorded log by the app's code as it is now: the state of every aggregate, and every row of every read
    model. SOURCE is a file that `refold export` wrote, or a store's URL, which is only read; without it, the store of
    the settings.

    With --save, digests of all states go into a file, with one line for each. With --baseline they are compared with
    such a file, as far as the log went when it was saved: how many states differ, and for the first ones the event at
    which they part. Ends with 1 when states differ, and when events cannot be decoded or folded.

    The log is read once, and once more to explain differences. The states are held in memory, 250,000 at once; for
    more, the log is read once for each part of them.
    """
    if baseline is not None and save is not None:
        raise click.UsageError("give --baseline to compare or --save to write one, not both at once")
    if every is not None and save is None:
        raise click.UsageError("--every goes with --save; a baseline says by itself how it was saved")
    app = app_of_settings()
    with shown_progress() as progress:
        report = asyncio.run(
            replay_source(
                source or settings().needed_url,
                app,
                folder=Path(),
                baseline=None if baseline is None else Path(baseline),
                save=None if save is None else Path(save),
                every=every or 1,
                shown=show,
                progress=progress,
            )
        )
    if as_json:
        print_json({"ok": report.ok, **msgspec.structs.asdict(report)})
    else:
        _print(report)
    return OK if report.ok else FOUND


def _print(report: ReplayReport) -> None:
    target = console()
    grown = f" of {count(report.head)}" if report.head > report.position else ""
    with_ = f", compared with {report.baseline}" if report.baseline is not None else ""
    every = f", after each {count(report.every)} positions" if report.every > 1 else ""
    top = Text(report.source, style="bold") + Text(f", up to position {count(report.position)}{grown}{with_}{every}")
    target.print(top, soft_wrap=True)
    target.print()
    width = max((len(_name(fold)) for fold in report.folds), default=0)
    for fold in report.folds:
        target.print(_headline(fold, width), soft_wrap=True)
        for line in fold_lines(fold):
            target.print(Text(f"{'':9}{line}"), soft_wrap=True)
    if report.undecodable:
        target.print(Text("WRONG    ", style="bold red") + Text(_undecodable(report)), soft_wrap=True)
        for line in failure_lines(report.unread, report.undecodable):
            target.print(Text(f"{'':9}{line}"), soft_wrap=True)
    target.print()
    if report.ok:
        told = "every state is what it was" if report.baseline is not None else "every event could be folded"
        target.print(Text(told, style="bold green"), soft_wrap=True)
    else:
        target.print(Text(_verdict(report), style="bold red"), soft_wrap=True)
    if report.saved is not None:
        target.print(f"saved as {report.saved}", soft_wrap=True)


def _name(fold: FoldReport) -> str:
    return f"{fold.kind} {fold.name}"


def _headline(fold: FoldReport, width: int) -> Text:
    states = _many(fold.states, "state")
    if fold.gone:
        mark, told = Text("GONE     ", style="bold red"), "the baseline has it, the app has not"
    elif fold.lost_fields:
        mark, told = Text("DIFFERS  ", style="bold red"), "it has lost fields"
    elif fold.differing:
        mark = Text("DIFFERS  ", style="bold red")
        told = f"{count(fold.differing)} of {count(fold.compared or 0)} states differ"
        if fold.differing_now < fold.differing:
            told += f", {count(fold.differing_now)} of them to the end"
    elif fold.failed:
        mark, told = Text("WRONG    ", style="bold red"), f"{count(fold.failed)} of {states} could not be folded"
    elif fold.compared is None:
        mark, told = Text("folded   ", style="green"), states
    else:
        mark, told = Text("same     ", style="green"), states
    return mark + Text(f"{_name(fold):<{width}}  {told}")


def fold_lines(fold: FoldReport) -> list[str]:
    """What there is to say of one aggregate or read model, line by line."""
    lines = []
    if fold.lost_fields:
        lines.append(
            f"the baseline has {', '.join(fold.lost_fields)}, the class has not, so nothing could be compared; is that "
            "meant? then save a new baseline"
        )
    if fold.new_fields:
        lines.append(f"not compared, because the baseline has it not: {', '.join(fold.new_fields)}")
    if fold.differing and fold.same_code:
        lines.append(
            "its own methods are unchanged: what they call has changed, an event's class has, or they do not give the "
            "same twice"
        )
    for difference in fold.differences:
        lines += _difference_lines(difference)
    if 0 < len(fold.differences) < fold.differing:
        lines.append(f"and {count(fold.differing - len(fold.differences))} more")
    return lines + failure_lines(fold.failures, fold.failed)


def _difference_lines(difference: Difference) -> list[str]:
    if difference.exact:
        where = f"parts from what it was at position {count(difference.until)}"
    else:
        where = f"parts from what it was after position {count(difference.after)}, at {count(difference.until)} at last"
    lines = [f"{difference.key} {where}" + ("; it is the same again at the end" if difference.same_now else "")]
    if difference.event is not None:
        first = "" if difference.exact else "its first event there: "
        lines.append(f"  event   {first}{_event(difference.event)}")
    for name, state in (("before", difference.before), ("then", difference.then), ("now", difference.now)):
        if name == "now" and difference.now == difference.then:
            continue
        text = "no state" if state is None else bytes(state).decode()
        lines.append(f"  {name:<6}  {text if len(text) <= _WIDTH else text[: _WIDTH - 1] + '…'}")
    return lines


def failure_lines(failures: list[EventFailure], all_of_them: int) -> list[str]:
    """Events that could not be decoded or folded, line by line."""
    lines = [
        f"{_event(failure.event)}: {f'{failure.key}: ' if failure.key else ''}{failure.problem}" for failure in failures
    ]
    if len(failures) < all_of_them:
        lines.append(f"and {count(all_of_them - len(failures))} more")
    return lines


def _event(event: RecordedSummary) -> str:
    return (
        f"position {count(event.position)}, {event.type} of {event.stream} (version {event.version}), "
        f"{moment(event.recorded_at)}, {event.payload}"
    )


def _undecodable(report: ReplayReport) -> str:
    if report.undecodable == 1:
        return "1 event cannot be decoded, and is left out"
    return f"{count(report.undecodable)} events cannot be decoded, and are left out"


def _verdict(report: ReplayReport) -> str:
    differing = sum(fold.differing for fold in report.folds)
    failed = sum(fold.failed for fold in report.folds)
    parts = [
        *([f"{_many(differing, 'state')} differ{'s' if differing == 1 else ''}"] if differing else []),
        *([f"{_many(failed, 'state')} could not be folded"] if failed else []),
        *([f"{_many(report.undecodable, 'event')} could not be decoded"] if report.undecodable else []),
    ]
    return ", ".join(parts) or "the app is not what it was"


def _many(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"
