"""How things look: tables that fit the terminal, JSON, numbers, times."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, Literal

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from refold.messages.recorded import from_microseconds

__all__ = [
    "Column",
    "console",
    "count",
    "duration",
    "moment",
    "print_facts",
    "print_hanging",
    "print_json",
    "print_table",
    "rate",
    "table_of",
]

_UNLIMITED = 10_000
_GAP = 2
_SMALLEST = 12
_NARROWEST = 20


class Column(msgspec.Struct, frozen=True):
    """A column of a table. In a narrow terminal those with the highest `spare` are left out first; 0 always stays.

    The one that is `flexible` is shortened to fit.
    """

    title: str
    align: Literal["left", "right"] = "left"
    spare: int = 0
    flexible: bool = False


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; as wide as needed where the output goes to a file or a program."""
    stream = sys.stderr if stderr else sys.stdout
    width = shutil.get_terminal_size((_UNLIMITED, 24)).columns
    if not stream.isatty() and width != _UNLIMITED and not _columns_are_set():
        width = _UNLIMITED
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def _columns_are_set() -> bool:
    return os.environ.get("COLUMNS", "").isdigit()


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], *, empty: str) -> None:
    """Prints rows under the titles of their columns, or the sentence `empty` when there are none."""
    if not rows:
        click.echo(empty)
        return
    console().print(table_of(columns, rows), soft_wrap=True)


def table_of(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> Text:
    """Rows under the titles of their columns, as wide as the terminal at most."""
    titles = [Text(column.title, style="bold") for column in columns]
    lines = [titles, *([cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows)]
    widths = [max(line[index].cell_len for line in lines) for index in range(len(columns))]
    kept = _fitting(columns, widths, console().width)
    return Text("\n").join(_line(columns, line, widths, kept) for line in lines)


def _fitting(columns: Sequence[Column], widths: list[int], most: int) -> list[int]:
    """Which columns are shown; the flexible ones among them are made as narrow as need be."""
    kept = list(range(len(columns)))

    def over(smallest: bool) -> int:
        needed = [
            min(widths[index], _SMALLEST) if smallest and columns[index].flexible else widths[index] for index in kept
        ]
        return sum(needed) + _GAP * (len(kept) - 1) - most

    while over(smallest=True) > 0:
        spare = max(kept, key=lambda index: columns[index].spare)
        if columns[spare].spare == 0:
            break
        kept.remove(spare)
    for index in kept:
        if columns[index].flexible and (excess := over(smallest=False)) > 0:
            widths[index] = max(widths[index] - excess, min(widths[index], _SMALLEST))
    return kept


def _line(columns: Sequence[Column], line: list[Text], widths: list[int], kept: list[int]) -> Text:
    cells = []
    for index in kept:
        cell = line[index].copy()
        cell.truncate(widths[index], overflow="ellipsis")
        padding = " " * (widths[index] - cell.cell_len)
        cells.append(Text(padding) + cell if columns[index].align == "right" else cell + Text(padding))
    joined = Text(" " * _GAP).join(cells)
    joined.rstrip()
    return joined


def print_facts(facts: Sequence[tuple[str, str | Text]]) -> None:
    """Prints names and what they are, one a line, aligned."""
    target = console()
    width = max(cell_len(name) for name, _ in facts)
    for name, value in facts:
        line = Text(f"{name:<{width}}  ", style="bold")
        target.print(line + (value if isinstance(value, Text) else Text(value)), soft_wrap=True)


def print_hanging(head: Text, body: Text) -> None:
    """Prints a text behind its head; where it is wider than the terminal it goes on below its own beginning."""
    target = console()
    room = max(target.width - head.cell_len, _NARROWEST)
    for number, line in enumerate(body.wrap(target, room)):
        line.rstrip()
        target.print((Text(" " * head.cell_len) if number else head) + line, soft_wrap=True)


def print_json(value: Any, *, compact: bool = False) -> None:
    """Prints a value as JSON: one document, indented, or on one line."""
    encoded = msgspec.json.encode(value, enc_hook=str)
    click.echo((encoded if compact else msgspec.json.format(encoded, indent=2)).decode())


def count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}"


def rate(per_second: float | None) -> str:
    """Events a second."""
    if per_second is None:
        return "-"
    return f"{per_second:,.0f}/s" if per_second >= 10 or per_second == 0 else f"{per_second:.1f}/s"


def duration(seconds: float | None) -> str:
    """A time span in the two units that matter."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24:02} h"


def moment(microseconds: int | None) -> str:
    """A time, to the millisecond, in UTC."""
    if not microseconds:
        return "-"
    return f"{from_microseconds(microseconds):%Y-%m-%d %H:%M:%S}.{microseconds // 1000 % 1000:03}Z"
