"""`refold migrate`: the store's schema."""

from __future__ import annotations

import asyncio

import click

from refold.app.stores import migrate as migrate_store
from refold.cli.command import Command, actor_option, json_option, settings, store_options
from refold.cli.printing import print_json
from refold.cli.store import on_store, recorded, shown_name
from refold.projections.parking.records import Operation

__all__ = ["migrate"]


@click.command("migrate", cls=Command, short_help="Bring the store's schema to this version of Refold.")
@actor_option
@json_option
@store_options
def migrate(actor: str, as_json: bool) -> None:
    """Bring the store's schema to this version of Refold. An empty database gets the whole schema.

    Nothing is done when it is there already. Stop the application's older processes before, and make a backup: there
    is no way back.
    """
    url = settings().needed_url
    before, after = asyncio.run(migrate_store(url))
    if 0 < before < after:
        details = {"before": before, "after": after}
        done = Operation(actor=actor, operation="migrate", target=shown_name(url), details=details)
        on_store(lambda store: recorded(store, done), read_only=False)
    if as_json:
        print_json({"store": shown_name(url), "before": before, "after": after})
    elif before == after:
        click.echo(f"{shown_name(url)} has schema version {after} already")
    elif before:
        click.echo(f"{shown_name(url)} is now at schema version {after}; it was at {before}")
    else:
        click.echo(f"{shown_name(url)} is new, at schema version {after}")
