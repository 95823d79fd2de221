"""`refold version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

import refold
from refold.cli.command import Command, json_option
from refold.cli.printing import print_facts, print_json

__all__ = ["version"]

_BESIDE = ("msgspec", "sqlalchemy", "psycopg")


@click.command("version", cls=Command, short_help="Show the versions of Refold and of what it stands on.")
@json_option
def version(as_json: bool) -> None:
    """Show the versions of Refold, Python, and the packages that Refold stands on."""
    versions = {"refold": refold.__version__, "python": platform.python_version()}
    for package in _BESIDE:
        try:
            versions[package] = installed(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    if as_json:
        print_json(versions)
    else:
        print_facts(list(versions.items()))
