"""`refold init`: a small project to begin with."""

from __future__ import annotations

import shlex
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

import click

from refold.cli.command import Command
from refold.errors import ConfigurationError, Refused

__all__ = ["init"]

_SUFFIX = ".txt"
_HIDDEN = {"gitignore": ".gitignore"}


@click.command("init", cls=Command, short_help="Begin a small project, with a test.")
@click.argument("folder", metavar="[DIR]", default=".")
def init(folder: str) -> None:
    """Begin a small project in DIR (the current folder when none is named): an aggregate, a read model, an app,
    its tests, and refold.toml. Nothing that is there is overwritten.
    """
    target = Path(folder)
    texts = dict(_texts(resources.files("refold.cli") / "project", PurePosixPath()))
    there = [name for name in texts if (target / name).exists()]
    if there:
        raise Refused(f"{target / there[0]} is there already; nothing was written, choose another folder")
    try:
        for name, text in texts.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with (target / name).open("x", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as problem:
        raise ConfigurationError(f"{problem.filename} cannot be written: {problem.strerror}") from problem
    for name in texts:
        click.echo(f"  {name}")
    click.echo("\nThe rules and their tests are ready. Next:\n")
    if folder != ".":
        click.echo(f"  cd {shlex.quote(folder)}")
    click.echo("  python -m pytest\n  python -m workshops\n  refold status\n\nREADME.md says more.")


def _texts(folder: Traversable, below: PurePosixPath) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            found += _texts(entry, below / entry.name)
        elif entry.name.endswith(_SUFFIX):
            name = entry.name.removesuffix(_SUFFIX)
            found.append((str(below / _HIDDEN.get(name, name)), entry.read_text(encoding="utf-8")))
    return found
