"""`refold export` and `refold import`: moving a log between files and stores."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from refold.cli.command import Command, actor_option, json_option, store_options
from refold.cli.printing import count, duration, print_json, rate
from refold.cli.progress import shown_progress
from refold.cli.standard_input import standard_input
from refold.cli.store import on_store, recorded
from refold.errors import TransferError
from refold.operations.transfer import Exported, Imported, export_lines, export_to_file, import_file, import_stream
from refold.projections.parking.records import Operation
from refold.store.event_store import EventStore

__all__ = ["export", "import_"]


@click.command("export", cls=Command, short_help="Write the whole log to a file of JSON lines.")
@click.argument("file")
@click.option("--overwrite", is_flag=True, help="Replace FILE when it is there already.")
@json_option
@store_options
def export(file: str, overwrite: bool, as_json: bool) -> None:
    """Write the whole log to FILE (or - for the standard output), one event a line, losing nothing.

    FILE appears when it is whole; until then it is FILE.partial. A killed export goes on where it was: run the same
    command again. The log may be written to meanwhile; what is exported is the log as it was at the beginning.

    The last line has the number of events and a checksum over them. Two logs with the same events have the same
    checksum, whatever stores they are in.
    """
    if file == "-":
        on_store(_write_to_stdout)
        return
    started = time.monotonic()

    async def work(store: EventStore) -> Exported:
        with shown_progress() as progress:
            return await export_to_file(store, Path(file), overwrite=overwrite, progress=progress)

    done = on_store(work)
    if as_json:
        print_json(done)
        return
    written = done.events - done.resumed_at
    resumed = f", continued after position {done.resumed_at:,}" if done.resumed_at else ""
    click.echo(f"exported {count(done.events)} events of {done.source} to {file}{resumed}{_speed(written, started)}")
    click.echo(f"sha256 {done.sha256}")


async def _write_to_stdout(store: EventStore) -> None:
    with shown_progress() as progress:
        async for piece in export_lines(store, progress=progress):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


@click.command("import", cls=Command, short_help="Read such a file into a store, of whatever kind.")
@click.argument("file")
@click.option(
    "--trust-changes", is_flag=True, help="Accept a FILE whose checksum is wrong because it was mended by hand."
)
@actor_option
@json_option
@store_options
def import_(file: str, trust_changes: bool, actor: str, as_json: bool) -> None:
    """Read an export from FILE (or - for the standard input) into the store: SQLite to Postgres, or any other way.

    Positions, versions, times and ids stay as they are, so the store must be empty, or hold the beginning of the same
    export. A killed import goes on where it was, and importing twice adds nothing: run the same command again.

    A file is checked from end to end first, and nothing of a broken one is stored; the error names the line. The
    standard input cannot be checked first: there, what stands before the broken line is kept, in whole appends, and
    importing again goes on from there.
    """
    if file == "-" and trust_changes:
        raise click.UsageError("--trust-changes needs a file")
    started = time.monotonic()

    async def work(store: EventStore) -> Imported:
        with shown_progress() as progress:
            if file == "-":
                with standard_input() as stream:
                    done = await import_stream(store, stream, progress=progress)
            else:
                done = await import_file(store, Path(file), trust_changes=trust_changes, progress=progress)
        if done.added:
            details = {"source": done.source, "added": done.added, "sha256": done.sha256}
            await recorded(store, Operation(actor=actor, operation="import", target=store.name, details=details))
        return done

    try:
        done = on_store(work, read_only=False)
    except TransferError as problem:
        name = "the standard input" if file == "-" else file
        raise type(problem)(f"{name}, {problem}" if problem.line is not None else str(problem)) from problem
    if as_json:
        print_json(done)
        return
    there = done.events - done.added
    also = f"; {count(there)} were there already" if there else ""
    click.echo(
        f"imported {count(done.added)} of {count(done.events)} events of {done.source}"
        f"{also}{_speed(done.added, started)}"
    )
    click.echo(f"sha256 {done.sha256}")


def _speed(events: int, started: float) -> str:
    seconds = max(time.monotonic() - started, 1e-6)
    return f" ({duration(seconds)}, {rate(events / seconds)})" if events else ""
