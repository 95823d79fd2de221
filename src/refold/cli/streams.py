"""`refold streams` and `refold history`: what is in the log."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import click
import msgspec
from rich.text import Text

from refold.cli.command import Command, json_option, store_options
from refold.cli.printing import Column, console, count, moment, print_json, print_table, table_of
from refold.cli.store import on_store
from refold.messages.metadata import decode_metadata
from refold.messages.recorded import StoredEvent, from_microseconds
from refold.operations.streams import history as read_history
from refold.operations.streams import list_streams

__all__ = ["history", "streams"]

_MAX = click.IntRange(min=1, max=1_000_000)


@click.command("streams", cls=Command, short_help="List the streams.")
@click.option("--category", metavar="NAME", help="Only the streams of this category: account for account-42.")
@click.option("--after", default="", metavar="STREAM", help="Begin after this stream: the next page.")
@click.option("--limit", default=50, type=_MAX, show_default=True, help="At most so many.")
@json_option
@store_options
def streams(category: str | None, after: str, limit: int, as_json: bool) -> None:
    """List the streams in order of their ids, with the version and the time of their last event."""
    found = on_store(lambda store: list_streams(store, category=category, after=after, limit=limit))
    if as_json:
        print_json(
            [
                {
                    "stream": each.stream,
                    "version": each.version,
                    "position": each.position,
                    "recorded_at": from_microseconds(each.recorded_at),
                }
                for each in found
            ]
        )
        return
    print_table(
        [
            Column("stream"),
            Column("version", "right"),
            Column("position", "right", spare=2),
            Column("last event", spare=1),
        ],
        [[each.stream, count(each.version), count(each.position), moment(each.recorded_at)] for each in found],
        empty="no stream" + (f" of category {category}" if category else "") + (f" after {after}" if after else ""),
    )
    if len(found) == limit:
        click.echo(f"\nthe next page: --after {found[-1].stream}")


@click.command("history", cls=Command, short_help="Show the events of a stream.")
@click.argument("stream")
@click.option("--limit", default=50, type=_MAX, show_default=True, help="At most so many events.")
@click.option("--after", default=0, type=click.IntRange(min=0), metavar="VERSION", help="Begin after this version.")
@click.option("--backward", is_flag=True, help="The newest first.")
@click.option("--full", is_flag=True, help="Each event in lines of its own, with all of its payload and metadata.")
@json_option
@store_options
def history(stream: str, limit: int, after: int, backward: bool, full: bool, as_json: bool) -> None:
    """Show the events of STREAM as the log keeps them.

    The table cuts payloads that are wider than the terminal. With --full, and with --json, they are whole.
    """
    events = on_store(lambda store: read_history(store, stream, after=after, limit=limit, backward=backward))
    if as_json:
        print_json([_as_json(event) for event in events])
        return
    if not events:
        click.echo(f"no event of {stream} beyond version {after}")
    elif full:
        _print_whole(events)
    else:
        _print_table(events)
    more = len(events) == limit and events[-1].version > 1 if backward else len(events) == limit
    if more:
        click.echo(f"\nthe next page: --after {events[-1].version}")


def _print_table(events: Sequence[StoredEvent]) -> None:
    occurred = any(event.occurred_at is not None for event in events)
    columns = [
        Column("version", "right"),
        Column("position", "right", spare=3),
        Column("recorded at", spare=1),
        *([Column("occurred at", spare=2)] if occurred else []),
        Column("type"),
        Column("actor", spare=4),
        Column("payload", flexible=True),
    ]
    rows: list[list[str | Text]] = [
        [
            count(event.version),
            count(event.position),
            moment(event.recorded_at),
            *([moment(event.occurred_at)] if occurred else []),
            event.type,
            _actor_of(event) or "-",
            _text(event.payload),
        ]
        for event in events
    ]
    table = table_of(columns, rows)
    console().print(table, soft_wrap=True)
    lines = table.plain.split("\n")[1:]
    if not all(line.endswith(_text(event.payload).rstrip()) for line, event in zip(lines, events, strict=True)):
        click.echo("\npayloads are cut, --full shows all")


def _print_whole(events: Sequence[StoredEvent]) -> None:
    for number, event in enumerate(events):
        if number:
            click.echo()
        heading = f"{count(event.version)}  {event.type}"
        at = f"position {count(event.position)}, recorded {moment(event.recorded_at)}"
        occurred = "" if event.occurred_at is None else f", occurred {moment(event.occurred_at)}"
        console().print(Text(heading, style="bold") + Text(f"  {at}{occurred}"), soft_wrap=True)
        click.echo(f"payload   {_text(event.payload)}")
        click.echo(f"metadata  {_text(event.metadata)}")
        if event.tags:
            click.echo(f"tags      {', '.join(event.tags)}")


def _as_json(event: StoredEvent) -> dict[str, object]:
    return {
        "position": event.position,
        "stream": event.stream,
        "version": event.version,
        "type": event.type,
        "schema_version": event.schema_version,
        "recorded_at": from_microseconds(event.recorded_at),
        "occurred_at": None if event.occurred_at is None else from_microseconds(event.occurred_at),
        "event_id": event.event_id,
        "append_id": UUID(bytes=event.append_id),
        "append_index": event.append_index,
        "tags": event.tags,
        "metadata": _json_or_text(event.metadata),
        "payload": _json_or_text(event.payload),
    }


def _json_or_text(stored: bytes) -> object:
    try:
        return msgspec.json.decode(stored)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _text(stored)


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "replace")


def _actor_of(event: StoredEvent) -> str | None:
    try:
        return decode_metadata(event.metadata).actor
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
