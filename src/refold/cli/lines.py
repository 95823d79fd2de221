"""What a command prints that runs until it is stopped: one line for each thing, with the time."""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime

import click

from refold.errors import FoldFailed, RefoldError

__all__ = ["WarningLines", "say"]


def say(text: str, *, problem: bool = False) -> None:
    """Prints a line; a problem on stderr."""
    line = f"{datetime.now(UTC):%H:%M:%S}Z  {' '.join(text.split())}"
    click.secho(line, fg="red" if problem else None, err=problem)


class WarningLines(logging.Handler):
    """What the library warns of, one line each; below it where something went wrong that nobody expected."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints it."""
        say(record.getMessage(), problem=True)
        problem = record.exc_info[1] if record.exc_info else None
        # Whoever called was told to look here. What Refold expects has said in one line what is wrong.
        if problem is not None and (isinstance(problem, FoldFailed) or not isinstance(problem, RefoldError)):
            click.echo("".join(traceback.format_exception(problem)).rstrip(), err=True)
