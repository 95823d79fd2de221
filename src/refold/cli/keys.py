"""`refold keys`: who may call the HTTP API."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from refold.cli.command import Command, json_option, settings
from refold.cli.printing import Column, console, print_json, table_of
from refold.cli.serving import needs_server, server_table
from refold.errors import ConfigurationError

if TYPE_CHECKING:
    from refold.server import ApiKeys

__all__ = ["keys"]


class _Commands(click.Group):
    """The commands on keys."""


keys = _Commands(
    "keys",
    short_help="Make, list and revoke keys for the HTTP API.",
    help="Make, list and revoke the keys by which callers of the HTTP API are recognised.",
)


def _file(given: str | None) -> ApiKeys:
    module = needs_server()
    path = given or server_table(settings(), os.environ).keys
    if path is None:
        raise ConfigurationError(
            "which file of keys is meant is not said: give --keys FILE, set REFOLD_KEYS, or write keys = … in [server] "
            "of refold.toml"
        )
    found: ApiKeys = module.ApiKeys(path)
    return found


_keys_option = click.option("--keys", "path", metavar="FILE", help="The file; REFOLD_KEYS or refold.toml unless given.")


@keys.command("add", cls=Command, short_help="Make a key, and print it this once.")
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, metavar="ROLE[:SCOPE]", help="May be repeated.")
@click.option("--days", type=click.IntRange(1), help="Let it expire after so many days.")
@_keys_option
@json_option
def add(name: str, roles: tuple[str, ...], days: int | None, path: str | None, as_json: bool) -> None:
    """Make a key for NAME, who is the actor of what is done with it, and print it. It is kept as a hash: nobody can
    print it again.

    Roles are reader, commander and operator; the first two also for one category, command or read model alone, as in
    reader:account or commander:DepositMoney. An operator may read everything.
    """
    expires = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    key = _file(path).add(name, roles, expires)
    if as_json:
        print_json({"name": name, "key": key, "roles": list(roles), "expires": expires})
    else:
        click.echo(key)


@keys.command("list", cls=Command, short_help="List the keys: who holds them, and what they may do.")
@_keys_option
@json_option
def list_keys(path: str | None, as_json: bool) -> None:
    """List the keys: who holds them, and what they may do. The keys themselves are not kept."""
    found = _file(path).all()
    if as_json:
        print_json(
            [
                {"name": each.name, "roles": list(each.roles), "created": each.created, "expires": each.expires}
                for each in found
            ]
        )
        return
    if not found:
        click.echo("there are no keys")
        return
    columns = [Column("name"), Column("roles", spare=1), Column("created"), Column("expires")]
    rows = [
        [each.name, " ".join(each.roles), _day(each.created), "-" if each.expires is None else _day(each.expires)]
        for each in found
    ]
    console().print(table_of(columns, rows), soft_wrap=True)


@keys.command("revoke", cls=Command, short_help="Forget a key; whoever holds it is out at once.")
@click.argument("name")
@_keys_option
def revoke(name: str, path: str | None) -> None:
    """Forget the key of NAME, at once for every server that reads this file."""
    _file(path).revoke(name)
    click.echo(f"the key of {name} is revoked")


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
