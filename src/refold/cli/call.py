"""`refold call`: one call of the HTTP API, from a shell."""

from __future__ import annotations

import os
import sys
from typing import Any
from uuid import UUID, uuid4

import click
import msgspec

from refold.cli.command import Command
from refold.errors import ConfigurationError, MissingExtra, OutcomeUnknown, RefoldError
from refold.messages.ids import as_uuid

__all__ = ["call"]

_ADDRESS = "http://127.0.0.1:8181"
_SECONDS = 60.0


@click.command("call", cls=Command, short_help="Call the HTTP API of a server.")
@click.argument("what", metavar="COMMAND|PATH")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--server", default=None, metavar="URL", help=f"The server; REFOLD_SERVER or {_ADDRESS} unless given.")
@click.option("--id", "command_id", metavar="ID", help="The command's id: the same id again does nothing twice.")
@click.option("--dry-run", is_flag=True, help="Say what the command would do, and do nothing.")
@click.option("--after", metavar="TOKEN", help="Wait until what is read has seen this consistency token.")
def call(
    what: str, values: tuple[str, ...], server: str | None, command_id: str | None, dry_run: bool, after: str | None
) -> None:
    """Execute a command, or read what is at a path, and print the answer as JSON. The key is taken from REFOLD_KEY.

    \b
      refold call OpenAccount account_id=42 owner=alice
      refold call /read-models/account_summary/rows/42 --after 17
      refold call /events category=account limit=3

    A command's values are text, or JSON where they can be read as such by := as in amount:=12.5. `-` as the only value
    takes the whole body from stdin. A problem is one line on stderr, with the code of its kind.
    """
    address = server or os.environ.get("REFOLD_SERVER") or _ADDRESS
    reads = what.startswith("/")
    if reads and (dry_run or command_id):
        raise click.UsageError("--id and --dry-run are for commands, not for paths")
    body = _body(values) if not reads else None
    query = _parameters(values) if reads else None
    path = what if reads else f"/commands/{what}" + ("/dry-run" if dry_run else "")
    headers = {} if after is None else {"Refold-After": _header(after, "--after")}
    if not reads and not dry_run:
        # Always one, so that whoever never hears the answer can find out what became of it.
        headers["Idempotency-Key"] = str(as_uuid(command_id) if command_id is not None else uuid4())
    _print_answer(address, path, body, query, headers)


def _print_answer(
    address: str, path: str, body: bytes | None, query: dict[str, list[str]] | None, headers: dict[str, str]
) -> None:
    try:
        import httpx

        from refold.client.calling import problem_in, refuse_in_the_clear
    except ImportError as problem:
        raise MissingExtra('`refold call` needs httpx: pip install "refold[client]"') from problem
    kind = {} if body is None else {"Content-Type": "application/json"}
    try:
        if key := os.environ.get("REFOLD_KEY", "").strip():
            refuse_in_the_clear(httpx.URL(address))
            headers = {**headers, "Authorization": f"Bearer {_header(key, 'REFOLD_KEY')}"}
        method = "GET" if body is None else "POST"
        with (
            httpx.Client(base_url=address, timeout=_SECONDS, headers={**headers, **kind}) as http,
            # Without parameters None: none at all would take away those that the path has.
            http.stream(method, path, params=query or None, content=body) as response,
        ):
            if not response.is_success:
                response.read()
                raise problem_in(response)
            if response.headers.get("content-type", "").startswith("application/json"):
                click.echo(msgspec.json.format(response.read(), indent=2).decode())
                return
            # An export, or the log as it grows: as it comes.
            for piece in response.iter_bytes():
                click.echo(piece, nl=False)
    except (httpx.HTTPError, httpx.InvalidURL) as problem:
        if "Idempotency-Key" in headers and not isinstance(problem, (httpx.ConnectError, httpx.ConnectTimeout)):
            raise OutcomeUnknown(UUID(headers["Idempotency-Key"]), f"{type(problem).__name__}: {problem}") from problem
        raise _unreachable(address, problem) from problem


def _unreachable(address: str, problem: Exception) -> RefoldError:
    return ConfigurationError(f"no server answers at {address} ({problem}); is `refold serve` running there?")


def _header(text: str, what: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise click.UsageError(f"{what} must be of printable ASCII characters")  # it may be a key: it is not shown
    return text


def _body(values: tuple[str, ...]) -> bytes:
    if values == ("-",):
        return sys.stdin.buffer.read()
    pairs = [_pair(value) for value in values]
    if twice := [name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number])]:
        raise click.UsageError(f"{twice[0]} is given twice; a list is {twice[0]}:='[…]'")
    return msgspec.json.encode(dict(pairs))


def _parameters(values: tuple[str, ...]) -> dict[str, list[str]]:
    """The parameters of a path, each as often as it is given."""
    found: dict[str, list[str]] = {}
    for name, value in map(_pair, values):
        found.setdefault(name, []).append(value if isinstance(value, str) else bytes(value).decode())
    return found


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not NAME=VALUE")
    if not name.endswith(":"):
        return name, value
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError) as problem:
        raise click.UsageError(f"{value!r} is not JSON ({problem}); write {name[:-1]}={value} for text") from problem
    # As it is written: a number must not become another on its way.
    return name[:-1], msgspec.Raw(value.encode())
