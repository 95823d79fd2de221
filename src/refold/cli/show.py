"""`refold show`: the state of an aggregate, now or as it was."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import msgspec

from refold.cli.command import Command, app_of_settings, app_options, json_option
from refold.cli.printing import moment, print_facts, print_json
from refold.cli.store import on_store
from refold.messages.event_types import encode_in_order
from refold.messages.recorded import from_microseconds
from refold.operations.state import ShownState, state_of

__all__ = ["show"]


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """A time with its zone."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time; write it as 2026-01-15T12:00:00Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} names no moment without a time zone; write 2026-01-15T12:00:00Z", param, ctx)
        return moment


@click.command("show", cls=Command, short_help="Show the state of an aggregate, now or as it was.")
@click.argument("stream")
@click.option("--as-of", type=_Moment(), metavar="TIME", help="As it was at a time, as in 2026-01-15T12:00:00Z.")
@click.option("--occurred", is_flag=True, help="With --as-of: by when things happened, not by when they were recorded.")
@click.option("--at-version", type=click.IntRange(min=0), metavar="N", help="As it was at this version of the stream.")
@click.option("--at-position", type=click.IntRange(min=0), metavar="N", help="As it was at this position of the log.")
@json_option
@app_options
def show(
    stream: str,
    as_of: datetime | None,
    occurred: bool,
    at_version: int | None,
    at_position: int | None,
    as_json: bool,
) -> None:
    """Show the state of the aggregate whose stream is STREAM, folded from its events."""
    if occurred and as_of is None:
        raise click.UsageError("--occurred says which time --as-of means; give --as-of too")
    app = app_of_settings()
    shown = on_store(
        lambda store: state_of(
            store,
            app,
            stream,
            as_of=as_of,
            time="occurred" if occurred else "recorded",
            at_version=at_version,
            at_position=at_position,
        )
    )
    if as_json:
        recorded = None if shown.recorded_at is None else from_microseconds(shown.recorded_at)
        document = {**msgspec.structs.asdict(shown), "recorded_at": recorded, "state": _plain(shown.state)}
        print_json(document)
        return
    print_facts([(shown.aggregate, shown.stream), ("seen", _seen(shown))])
    click.echo()
    print_facts([(name, _value(value)) for name, value in _plain(shown.state).items()])


def _seen(shown: ShownState) -> str:
    if not shown.events:
        return f"no event: the state before any of the {shown.newest_version:,}"
    last = f"up to version {shown.version:,} (position {shown.position:,}, {moment(shown.recorded_at)})"
    if shown.events == shown.newest_version:
        return f"all {shown.events:,} events, {last}"
    return f"{shown.events:,} of {shown.newest_version:,} events, {last}"


def _plain(state: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(encode_in_order(state))
    return plain


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
