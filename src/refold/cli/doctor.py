"""`refold doctor`: whether everything is set up as it should be."""

from __future__ import annotations

import asyncio

import click
from rich.text import Text

from refold.cli.command import Command, app_options, json_option, optional_app_of_settings, settings
from refold.cli.exit_codes import FOUND, OK
from refold.cli.printing import console, print_hanging, print_json
from refold.operations.doctor import doctor as examine
from refold.store.health import Check

__all__ = ["doctor"]

_MARKS = {"ok": ("ok       ", "green"), "warning": ("warning  ", "yellow"), "error": ("ERROR    ", "bold red")}


@click.command("doctor", cls=Command, short_help="Check server, settings, rights, schema and app.")
@json_option
@app_options
def doctor(as_json: bool) -> int:
    """Check that server, settings, rights, schema, indexes, app and projections are as they should be, and say what to
    do where they are not. It ends with 1 when there is an error; a warning is no error.

    It reads only, and takes a moment. Whether the data is right is what `refold verify` checks.
    """
    chosen = settings()
    checks = asyncio.run(
        examine(chosen.needed_url, optional_app_of_settings(), listen_url=chosen.listen_url, sinks=chosen.sinks)
    )
    errors = sum(check.health == "error" for check in checks)
    warnings = sum(check.health == "warning" for check in checks)
    if as_json:
        print_json({"ok": not errors, "errors": errors, "warnings": warnings, "checks": checks})
    else:
        _print(checks)
        console().print(_verdict(errors, warnings), soft_wrap=True)
    return FOUND if errors else OK


def _print(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark, style = _MARKS[check.health]
        print_hanging(Text(mark, style=style) + Text(f"{check.name:<{width}}  "), Text(check.detail))
        if check.advice:
            print_hanging(Text(" " * (11 + width)), Text(check.advice, style="bold"))
    click.echo()


def _verdict(errors: int, warnings: int) -> Text:
    if not errors and not warnings:
        return Text("everything is as it should be", style="bold green")
    parts = []
    for number, word in ((errors, "error"), (warnings, "warning")):
        if number:
            parts.append(f"{number} {word}{'s' if number > 1 else ''}")
    return Text(", ".join(parts), style="bold red" if errors else "bold yellow")
