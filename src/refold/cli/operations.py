"""`refold operations`: what operators did."""

from __future__ import annotations

import click
import msgspec

from refold.cli.command import Command, json_option, store_options
from refold.cli.printing import Column, console, moment, print_json, table_of
from refold.cli.store import on_store_and_sink
from refold.messages.recorded import from_microseconds
from refold.projections.parking.records import Operation
from refold.projections.sink import Sink
from refold.store.event_store import EventStore

__all__ = ["operations"]


@click.command("operations", cls=Command, short_help="List what operators did.")
@click.option("--limit", default=50, show_default=True, help="List so many at most, the newest.")
@json_option
@store_options
def operations(limit: int, as_json: bool) -> None:
    """List what operators did, the newest first: who, when, what, on what, and why. The list only grows."""

    async def work(store: EventStore, sink: Sink) -> list[Operation]:
        return await sink.records.operations(limit=max(1, limit))

    found = on_store_and_sink(work)
    if as_json:
        print_json([{**msgspec.structs.asdict(each), "at": from_microseconds(each.at)} for each in found])
        return
    if not found:
        click.echo("nothing was done yet")
        return
    columns = [Column("at"), Column("actor"), Column("operation"), Column("target"), Column("reason", spare=1)]
    rows = [[moment(each.at), each.actor, each.operation, each.target, each.reason or "-"] for each in found]
    console().print(table_of(columns, rows), soft_wrap=True)
