"""`refold rebuild`: a read model folded anew."""

from __future__ import annotations

import time

import click

from refold.app import Context
from refold.cli.command import Command, app_of_settings, app_options, json_option
from refold.cli.printing import count, duration, print_json, rate
from refold.cli.progress import shown_progress
from refold.cli.store import on_context
from refold.projections.rebuild import RebuildProgress

__all__ = ["rebuild"]


@click.command("rebuild", cls=Command, short_help="Fold a read model anew from the whole log.")
@click.argument("name")
@json_option
@app_options
def rebuild(name: str, as_json: bool) -> None:
    """Fold the read model NAME anew from the whole log, in a table beside the one that is read, and switch at the end.

    Its old rows are read all the time, and stay as they are when this is killed; run it again then. On SQLite, stop the
    application first: only one process may write the file.
    """
    read_model = app_of_settings().read_model_named(name)
    started = time.monotonic()

    async def work(context: Context) -> int:
        with shown_progress() as progress:

            def told(now: RebuildProgress) -> None:
                progress(f"rebuild {now.name}", now.done, now.total)

            return await context.rebuild(read_model, progress=told)

    position = on_context(work, projections=False)
    seconds = max(time.monotonic() - started, 1e-6)
    if as_json:
        print_json({"name": name, "position": position, "seconds": round(seconds, 3)})
    else:
        click.echo(f"rebuilt {name} from {count(position)} events ({duration(seconds)}, {rate(position / seconds)})")
