"""The bar of a long operation: how much is done, how fast, and how long it will take. Only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from refold.cli.printing import console, duration
from refold.operations.progress import Progress, unheard

__all__ = ["shown_progress"]

_BYTES = {"check"}
_NAMES = {"check": "checking the file"}


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        """What is done, of how much."""
        if task.fields["step"] in _BYTES:
            return Text(f"{task.completed / 1e6:,.0f} of {(task.total or 0) / 1e6:,.0f} MB", justify="right")
        total = f" of {task.total:,.0f}" if task.total else ""
        return Text(f"{task.completed:,.0f}{total}", justify="right")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """How fast."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed / 1e6:,.0f} MB/s" if task.fields["step"] in _BYTES else f"{speed:,.0f}/s", style="dim")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        """How long it will take."""
        if task.finished or task.time_remaining is None:
            return Text("")
        return Text(f"{duration(max(task.time_remaining, 1))} left", style="dim")


def _whole() -> Column:
    return Column(no_wrap=True)


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress that a person sees on stderr; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield unheard
        return
    with Bars(
        TextColumn("{task.description}", table_column=_whole()),
        BarColumn(bar_width=None),
        _Done(table_column=_whole()),
        _Rate(table_column=_whole()),
        _Left(table_column=_whole()),
        console=console(stderr=True),
        transient=True,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(_NAMES.get(step, step), total=total or None, step=step)
            bars.update(tasks[step], completed=done, total=total or None)

        yield show
