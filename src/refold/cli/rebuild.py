"""`refold rebuild`, `rollback`, `refold`: rows folded anew, and the way back."""

from __future__ import annotations

import time
from typing import Any

import click

from refold.app import Context
from refold.cli.command import Command, actor_option, app_of_settings, app_options, json_option
from refold.cli.printing import count, duration, print_json, rate
from refold.cli.progress import shown_progress
from refold.cli.store import on_context
from refold.errors import InvalidQuery
from refold.folds.read_model import ReadModel, read_model_of
from refold.projections.parking.records import as_text
from refold.projections.rebuild import RebuildProgress

__all__ = ["rebuild", "refold", "rollback"]


@click.command("rebuild", cls=Command, short_help="Fold a read model anew from the whole log.")
@click.argument("name")
@click.option("--jobs", default=1, show_default=True, metavar="N", help="The number of processes that fold (Postgres).")
@click.option("--from-start", is_flag=True, help="Do not go on where a rebuild that was killed had come to.")
@actor_option
@json_option
@app_options
def rebuild(name: str, jobs: int, from_start: bool, actor: str, as_json: bool) -> None:
    """Fold the read model NAME anew from the whole log, in a table beside the one that is read, and switch at the end.

    Its old rows are read all the time. When this is killed they stay as they are; run it again, and it goes on where it
    was. After the switch they are kept: `refold rollback NAME` puts them back. On SQLite, stop the application first:
    only one process may write the file.
    """
    read_model = app_of_settings().read_model_named(name)
    started = time.monotonic()

    async def work(context: Context) -> int:
        with shown_progress() as progress:

            def told(now: RebuildProgress) -> None:
                progress(f"rebuild {now.name}", now.done, now.total)

            position = await context.rebuild(read_model, progress=told, resume=not from_start, jobs=jobs)
        details = {"position": position}
        await context.projections.record_operation("rebuild", name, actor=actor, details=details)
        return position

    position = on_context(work, projections=False)
    seconds = max(time.monotonic() - started, 1e-6)
    if as_json:
        print_json({"name": name, "position": position, "seconds": round(seconds, 3)})
    else:
        click.echo(f"rebuilt {name} from {count(position)} events ({duration(seconds)}, {rate(position / seconds)})")


@click.command("rollback", cls=Command, short_help="Put the rows from before the last rebuild back.")
@click.argument("name")
@click.option("--drop", is_flag=True, help="Drop them instead: no way back is wanted any more.")
@actor_option
@json_option
@app_options
def rollback(name: str, drop: bool, actor: str, as_json: bool) -> None:
    """Put the rows of the read model NAME that were read before its last rebuild back in their place, in one step.

    The projection goes on from where they stood. Run it again, and the rebuilt rows are read again.
    """
    read_model = app_of_settings().read_model_named(name)

    async def work(context: Context) -> tuple[bool, int]:
        record = context.projections.record_operation
        if drop:
            dropped = await context.projections.drop_previous(read_model_of(read_model))
            await record("rollback: drop", name, actor=actor, details={"done": dropped})
            return dropped, 0
        position = await context.rollback(read_model)
        await record("rollback", name, actor=actor, details={"position": position})
        return True, position

    done, position = on_context(work, projections=False)
    if as_json:
        print_json({"name": name, "dropped": done} if drop else {"name": name, "position": position})
    elif drop:
        click.echo(f"dropped the previous rows of {name}" if done else f"{name} has no previous rows")
    else:
        click.echo(f"{name} is read as it was before its last rebuild, at position {count(position)}")


@click.command("refold", cls=Command, short_help="Fold one row anew.")
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@actor_option
@json_option
@app_options
def refold(name: str, key: tuple[str, ...], actor: str, as_json: bool) -> None:
    """Fold the row of KEY (several values when the key has several fields) of the read model NAME anew from the log, in
    its place. All other rows stay as they are.
    """
    read_model: type[ReadModel] = app_of_settings().read_model_named(name)
    definition = read_model_of(read_model)
    try:
        typed = definition.as_key(key)
    except Exception as problem:
        raise InvalidQuery(f"{' '.join(key)!r} is no key of read model {name!r}: {problem}") from problem

    async def work(context: Context) -> Any:
        row = await context.refold(read_model, typed)
        await context.projections.record_operation("refold", f"{name} {as_text(typed)}", actor=actor)
        return row

    row = on_context(work, projections=False)
    if as_json:
        print_json({"name": name, "key": list(key), "row": row})
    else:
        click.echo(f"refolded: {row!r}" if row is not None else f"refolded: {name} has no row {' '.join(key)!r}")
