"""`refold parked`: rows that wait, since one of their events failed."""

from __future__ import annotations

import time

import click
import msgspec

from refold.app import Context
from refold.cli.command import Command, actor_option, app_of_settings, app_options, json_option, store_options
from refold.cli.exit_codes import FOUND, OK
from refold.cli.printing import Column, console, count, duration, print_json, table_of
from refold.cli.store import on_context, on_store_and_sink
from refold.folds.read_model import ReadModelDefinition, read_model_of
from refold.messages.recorded import from_microseconds
from refold.projections.parking.operator import Waiting
from refold.projections.parking.records import Operation, ParkedKey, RequestKind
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["parked"]


class _Commands(click.Group):
    """The commands on parked rows."""


parked = _Commands(
    "parked",
    short_help="Rows that wait, since one of their events failed.",
    help="""Rows of read models with on_error="park" that wait: one of their events failed, and it and all later ones of
the row are kept back, in order, while other rows go on.

KEY is the row's key: several values when it has several fields.""",
)


@parked.command("list", cls=Command, short_help="List the rows that wait.")
@json_option
@store_options
def list_(as_json: bool) -> int:
    """List the rows that wait, of all read models. It ends with 1 when there are any."""

    async def work(store: EventStore, sink: Sink) -> list[ParkedKey]:
        return await sink.records.parked()

    found = on_store_and_sink(work)
    if as_json:
        print_json([_document(each) for each in found])
    elif not found:
        click.echo("nothing is parked")
    else:
        columns = [
            Column("read model"),
            Column("key"),
            Column("position", "right"),
            Column("event"),
            Column("since", "right"),
            Column("attempts", "right", spare=1),
            Column("error", spare=2, flexible=True),
        ]
        console().print(table_of(columns, [_row(each) for each in found]), soft_wrap=True)
    return FOUND if found else OK


def _row(each: ParkedKey) -> list[str]:
    ago = duration(max(0.0, time.time() - each.since / 1_000_000))
    return [each.name, each.key, count(each.position), each.type, ago, str(each.attempts), each.error]


def _document(each: ParkedKey) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(each),
        "key": msgspec.json.decode(each.key),
        "since": from_microseconds(each.since),
    }


@parked.command("show", cls=Command, short_help="Show the event that failed, the error, and what waits behind it.")
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--limit", default=20, show_default=True, help="Show so many waiting events at most.")
@json_option
@app_options
def show(name: str, key: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Show why the row KEY of the read model NAME waits: the event that failed, the error, and what waits behind it."""
    definition = _definition(name)

    async def work(context: Context) -> Waiting:
        return await context.projections.operator.waiting(definition, key, max(1, limit))

    found = on_context(work, projections=False)
    each = found.parked
    events = [
        {
            "position": event.position,
            "stream": event.stream,
            "version": event.version,
            "type": event.type,
            "payload": event.payload.decode("utf-8", "replace"),
        }
        for event in found.events
    ]
    if as_json:
        print_json({**_document(each), "waiting": events, "more": found.more})
        return
    click.echo(f"row {each.key} of {each.name} waits since {from_microseconds(each.since):%Y-%m-%d %H:%M:%S}Z")
    click.echo(f"{each.error} ({each.attempts} attempts)")
    if each.request:
        click.echo(f"{each.request} was asked by {each.requested_by}, and is not done yet")
    columns = [Column("position", "right"), Column("stream"), Column("event"), Column("payload", spare=1)]
    rows = [
        [count(event.position), event.stream, event.type, event.payload.decode("utf-8", "replace")]
        for event in found.events
    ]
    console().print(table_of(columns, rows), soft_wrap=True)
    if found.more:
        click.echo("and more; --limit shows them")


@parked.command("retry", cls=Command, short_help="Fold what waits, in order, by today's code.")
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--reason", default="", help="Why; it is kept in the log of operations.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for who owns the read model.")
@actor_option
@json_option
@app_options
def retry(name: str, key: tuple[str, ...], reason: str, timeout: float, actor: str, as_json: bool) -> int:
    """Fold the event that failed, and all that waits behind it, onto the row KEY of NAME: in order, each once.

    When all goes well, the row goes on. When one fails again, the row keeps what went well before it, waits there, and
    this ends with 1. A worker that owns the read model does it, within a second; without one, this command does.
    """
    return _ask(name, key, "retry", reason, timeout, actor, as_json)


@parked.command("release", cls=Command, short_help="Fold the row anew from the log's beginning, and let it go on.")
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--reason", default="", help="Why; it is kept in the log of operations.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for who owns the read model.")
@actor_option
@json_option
@app_options
def release(name: str, key: tuple[str, ...], reason: str, timeout: float, actor: str, as_json: bool) -> int:
    """Fold the row KEY of NAME anew from all of its events, from the log's beginning, and let it go on.

    What the row holds now is not looked at. When an event fails, the row waits on, and this ends with 1.
    """
    return _ask(name, key, "release", reason, timeout, actor, as_json)


@parked.command("skip", cls=Command, short_help="Leave the event that failed out of the row, and fold the rest.")
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why; it is kept in the log of operations.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for who owns the read model.")
@actor_option
@json_option
@app_options
def skip(name: str, key: tuple[str, ...], reason: str, timeout: float, actor: str, as_json: bool) -> int:
    """Leave the event that failed out of the row KEY of NAME, fold what waits behind it, and let the row go on.

    It is left out of that row only, also by a rebuild, for as long as the read model has this definition.
    """
    return _ask(name, key, "skip", reason, timeout, actor, as_json)


def _ask(
    name: str, key: tuple[str, ...], kind: RequestKind, reason: str, timeout: float, actor: str, as_json: bool
) -> int:
    definition = _definition(name)

    async def work(context: Context) -> Operation:
        return await context.projections.operator.ask(
            definition, key, kind, actor=actor, reason=reason, timeout=timeout
        )

    outcome = on_context(work, projections=False)
    details, row = outcome.details, f"row {' '.join(key)} of {name}"
    done = bool(details["done"])
    if as_json:
        print_json({"name": name, "key": list(key), "operation": kind, **details})
    elif done:
        click.echo(f"{row} goes on, after {count(int(details['events']))} events")
    else:
        click.echo(f"{row} waits at position {details['failed_at']}: {details['error']}")
    return OK if done else FOUND


def _definition(name: str) -> ReadModelDefinition:
    return read_model_of(app_of_settings().read_model_named(name))
