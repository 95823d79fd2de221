"""`refold migrate`: the store's schema."""

from __future__ import annotations

import asyncio

import click

from refold.app.stores import migrate as migrate_store
from refold.cli.command import Command, json_option, settings, store_options
from refold.cli.printing import print_json
from refold.cli.store import shown_name

__all__ = ["migrate"]


@click.command("migrate", cls=Command, short_help="Bring the store's schema to this version of Refold.")
@json_option
@store_options
def migrate(as_json: bool) -> None:
    """Bring the store's schema to this version of Refold. An empty database gets the whole schema.

    Nothing is done when it is there already. Stop the application's older processes before, and make a backup: there
    is no way back.
    """
    url = settings().needed_url
    before, after = asyncio.run(migrate_store(url))
    if as_json:
        print_json({"store": shown_name(url), "before": before, "after": after})
    elif before == after:
        click.echo(f"{shown_name(url)} has schema version {after} already")
    elif before:
        click.echo(f"{shown_name(url)} is now at schema version {after}; it was at {before}")
    else:
        click.echo(f"{shown_name(url)} is new, at schema version {after}")
