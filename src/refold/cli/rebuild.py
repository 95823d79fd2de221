"""`refold rebuild`, `rollback`, `refold`: rows folded anew, and the way back."""

from __future__ import annotations

import time
from typing import Any

import click

from refold.app import Context
from refold.cli.command import Command, actor_option, app_of_settings, app_options, json_option, settings
from refold.cli.exit_codes import FOUND, OK
from refold.cli.printing import count, duration, print_json, rate
from refold.cli.progress import shown_progress
from refold.cli.rebuild_diff import print_diff, print_diff_lines
from refold.cli.store import on_context
from refold.cli.user_app import find_read_model
from refold.errors import InvalidQuery
from refold.folds.read_model import ReadModel, read_model_of
from refold.operations.recording import recorded
from refold.projections.giving_way import go_last
from refold.projections.parking.records import as_text
from refold.projections.rebuild import RebuildProgress
from refold.projections.review.changes import RebuildDiff

__all__ = ["rebuild", "refold", "rollback"]

_ANSWERS = {
    "pause": ("the rebuild of {name} is paused", "the rebuild of {name} is paused already; see `refold status`"),
    "resume": ("the rebuild of {name} goes on", "no rebuild of {name} is paused"),
    "cancel": ("the rebuild of {name} was cancelled", "there is no rebuild of {name}"),
}


@click.command("rebuild", cls=Command, short_help="Fold a read model anew from the whole log.")
@click.argument("name")
@click.option("--jobs", default=1, show_default=True, metavar="N", help="The number of processes that fold (Postgres).")
@click.option("--from-start", is_flag=True, help="Do not go on where a rebuild that was killed had come to.")
@click.option("--diff", is_flag=True, help="Show which rows change, and why, before the switch.")
@click.option("--dry-run", is_flag=True, help="Build, compare, and drop it again: nothing is switched.")
@click.option("--shown", default=20, show_default=True, metavar="N", help="The rows of each kind that --diff shows.")
@click.option("--was", metavar="MODULE:CLASS", help="The class that made the rows that are read, for --diff.")
@click.option("--pause", "order", flag_value="pause", help="Let a rebuild that runs elsewhere stand still.")
@click.option("--resume", "order", flag_value="resume", help="Let one that was paused go on.")
@click.option("--cancel", "order", flag_value="cancel", help="End one that runs elsewhere, or was killed.")
@click.option("--reason", default="", help="Why it is paused, resumed or cancelled.")
@actor_option
@json_option
@app_options
def rebuild(
    name: str,
    jobs: int,
    from_start: bool,
    diff: bool,
    dry_run: bool,
    shown: int,
    was: str | None,
    order: str | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> int:
    """Fold the read model NAME anew from the whole log, in a table beside the one that is read, and switch at the end.

    Its old rows are read all the time. When this is killed they stay as they are; run it again, and it goes on where it
    was. After the switch they are kept: `refold rollback NAME` puts them back. On SQLite, stop the application first:
    only one process may write the file.

    --diff compares the new rows with those that are read, at the same position of the log, and names for each row the
    first event that makes the difference; with --json, one line for each row, and one with the totals. With --dry-run
    nothing is switched, and it ends with 1 when rows would change.

    --pause, --resume and --cancel are about a rebuild that runs in another process (Postgres), which obeys within a
    second. One that was paused and killed is still paused when it is run again.
    """
    read_model = app_of_settings().read_model_named(name)
    if order is not None:
        return _order(read_model, name, order, actor, reason, as_json)
    made_by = None if was is None else find_read_model(was, settings().folder)
    started = time.monotonic()
    go_last()

    def tell(found: RebuildDiff) -> None:
        (print_diff_lines if as_json else print_diff)(found)

    compared: dict[str, Any] = {"shown": None if as_json else shown if diff else 0, "was": made_by}

    async def work(context: Context) -> int | RebuildDiff:
        with shown_progress() as progress:

            def told(now: RebuildProgress) -> None:
                progress(f"rebuild {now.name}", now.done, now.total)

            if dry_run:
                return await context.compare_rebuild(read_model, progress=told, jobs=jobs, **compared)
            options: dict[str, Any] = {"diff": tell, **compared} if diff else {}
            async with recorded(context, "rebuild", name, actor=actor) as details:
                details["position"] = position = await context.rebuild(
                    read_model, progress=told, resume=not from_start, jobs=jobs, **options
                )
        return position

    done = on_context(work, projections=False)
    if isinstance(done, RebuildDiff):
        tell(done)
        return FOUND if done.differing else OK
    seconds = max(time.monotonic() - started, 1e-6)
    if as_json:
        print_json({"name": name, "position": done, "seconds": round(seconds, 3)}, compact=diff)
    else:
        click.echo(f"rebuilt {name} from {count(done)} events ({duration(seconds)}, {rate(done / seconds)})")
    return OK


def _order(read_model: type[ReadModel], name: str, order: str, actor: str, reason: str, as_json: bool) -> int:
    async def work(context: Context) -> bool:
        orders = {
            "pause": context.projections.pause_rebuild,
            "resume": context.projections.resume_rebuild,
            "cancel": context.projections.cancel_rebuild,
        }
        return await orders[order](read_model, actor=actor, reason=reason)

    changed = on_context(work, projections=False)
    if as_json:
        print_json({"name": name, "order": order, "changed": changed})
    else:
        done, not_done = _ANSWERS[order]
        click.echo((done if changed else not_done).format(name=name))
    return OK


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
        if drop:
            async with recorded(context, "rollback: drop", name, actor=actor) as details:
                details["done"] = dropped = await context.projections.drop_previous(read_model_of(read_model))
            return dropped, 0
        async with recorded(context, "rollback", name, actor=actor) as details:
            details["position"] = position = await context.rollback(read_model)
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
        async with recorded(context, "refold", f"{name} {as_text(typed)}", actor=actor):
            return await context.refold(read_model, typed)

    row = on_context(work, projections=False)
    if as_json:
        print_json({"name": name, "key": list(key), "row": row})
    else:
        click.echo(f"refolded: {row!r}" if row is not None else f"refolded: {name} has no row {' '.join(key)!r}")
