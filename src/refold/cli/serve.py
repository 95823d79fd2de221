"""`refold serve` and `refold dev`: the HTTP API and the console."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from refold.cli.command import Command, app_of_settings, app_options, settings
from refold.cli.lines import WarningLines, say
from refold.cli.reloading import is_watched, run_watched
from refold.cli.serving import ServerTable, needs_server, server_table

if TYPE_CHECKING:
    from refold.server import Authentication, Server

__all__ = ["dev", "serve"]

_ADDRESS = "127.0.0.1:8181"
_SQLITE = "sqlite:"
_DEV_STORE = "sqlite:///dev.db"


@click.command("serve", cls=Command, short_help="Serve the HTTP API and the console.")
@click.option("--address", metavar="[HOST:]PORT", help=f"Where to listen; {_ADDRESS} unless given.")
@click.option("--keys", metavar="FILE", help="The file of API keys; see `refold keys`.")
@click.option("--certificate", metavar="FILE", help="Serve by TLS with this certificate (PEM).")
@click.option("--private-key", metavar="FILE", help="The certificate's private key (PEM).")
@click.option("--behind-proxy", is_flag=True, help="Believe what a proxy on this machine says of its clients.")
@click.option(
    "--projections/--no-projections",
    default=None,
    help="Also keep the read models current; by default on SQLite only, where one process does everything.",
)
@app_options
def serve(
    address: str | None,
    keys: str | None,
    certificate: str | None,
    private_key: str | None,
    behind_proxy: bool,
    projections: bool | None,
) -> None:
    """Serve the app's HTTP API, its documentation (/openapi.json) and the console (/console/), until Ctrl-C or SIGTERM.

    Without authentication it serves this machine only. Make keys with `refold keys add`, and name their file by --keys,
    by the variable REFOLD_KEYS or in refold.toml, which can name an issuer of OpenID Connect too:

    \b
      [server]
      keys = "keys.json"
      [server.tokens]
      issuer = "https://login.example.com/realms/bank"
      audience = "bank"
      keys_url = "https://login.example.com/realms/bank/certs"

    On Postgres it may run as often as one likes, behind a load balancer; read models are kept by `refold worker`.
    """
    table = server_table(settings(), os.environ)
    given: dict[str, Any] = {
        "address": address,
        "keys": keys,
        "certificate": certificate,
        "private_key": private_key,
        "behind_proxy": behind_proxy or None,
        "projections": projections,
    }
    _serve(_merged(table, given), dev=False)


@click.command("dev", cls=Command, short_help="Run everything in one process, and again when the code changes.")
@click.option("--address", metavar="[HOST:]PORT", help=f"Where to listen; {_ADDRESS} unless given.")
@click.option(
    "--reload/--no-reload",
    default=True,
    help="Begin anew when a Python file below this folder, or refold.toml, changes.",
)
@app_options
def dev(address: str | None, reload: bool) -> None:
    """Run the app for a first afternoon: commands, read models, HTTP API and console, in one process.

    Without a store it takes the file dev.db here. It listens on this machine only, and begins anew when a Python file
    of the project or refold.toml changes; a mistake in one is shown, and waited for to be mended.
    """
    needs_server()
    if not is_watched() and reload:
        run_watched(sys.argv[1:])
        return
    _serve(ServerTable(address=address, projections=True), dev=True)


def _merged(table: ServerTable, given: dict[str, Any]) -> ServerTable:
    return msgspec.structs.replace(table, **{name: value for name, value in given.items() if value is not None})


def _serve(table: ServerTable, *, dev: bool) -> None:
    server_module = needs_server()
    from refold.server.serving import run

    chosen, app = settings(), app_of_settings()
    url = chosen.url or _DEV_STORE if dev else chosen.needed_url
    projections = url.startswith(_SQLITE) if table.projections is None else table.projections
    logging.getLogger("refold").addHandler(WarningLines(logging.WARNING))
    server: Server = server_module.Server(
        app,
        url,
        authentication=server_module.Authentication() if dev else _authentication(table),
        projections=projections,
        listen_url=chosen.listen_url,
        sinks=chosen.sinks,
    )

    def ready(address: str) -> None:
        say(f"serving {app.name} at {address} (API: {address}/openapi.json, console: {address}/console/)")

    run(
        server,
        table.address or _ADDRESS,
        certificate=table.certificate,
        private_key=table.private_key,
        behind_proxy=table.behind_proxy,
        ready=ready,
    )


def _authentication(table: ServerTable) -> Authentication:
    from refold.server import Authentication, OpenIdConnect

    tokens = None
    if table.tokens is not None:
        each = table.tokens
        tokens = OpenIdConnect(
            issuer=each.issuer,
            audience=each.audience,
            keys_url=each.keys_url,
            roles_claim=each.roles_claim,
            name_claim=each.name_claim,
            roles=each.roles,
        )
    return Authentication(keys=table.keys, tokens=tokens)
