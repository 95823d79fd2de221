"""What the commands have in common: the options that say what they work on, and how they run."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from refold.app import App
from refold.cli.settings import Settings, settings_from
from refold.cli.user_app import find_app

__all__ = [
    "Command",
    "Group",
    "actor_option",
    "app_of_settings",
    "app_options",
    "json_option",
    "optional_app_of_settings",
    "settings",
    "store_options",
]

F = TypeVar("F", bound=Callable[..., Any])

_GIVEN = "refold.settings"


def _remember(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and parameter.name is not None:
        context.meta.setdefault(_GIVEN, {})[parameter.name] = value


def _setting(name: str, metavar: str, text: str) -> click.Option:
    return click.Option([name], metavar=metavar, help=text, expose_value=False, callback=_remember)


def _app_option() -> click.Option:
    return _setting("--app", "MODULE:NAME", "The app, as in bank.app:app.")


def _url_options() -> list[click.Option]:
    return [
        _setting("--url", "URL", "The store: sqlite:///file.db or postgresql://user@host/database."),
        _setting("--listen-url", "URL", "A direct address for LISTEN when the URL leads to pgbouncer."),
    ]


def _debug_option() -> click.Option:
    return click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")


class Command(click.Command):
    """A command of refold."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.append(_debug_option())


def store_options(command: F) -> F:
    """For a command that works on a store: `--url`, `--listen-url`."""
    return _with(command, _url_options())


def app_options(command: F) -> F:
    """For a command that works on an app and its store: `--app`, `--url`, `--listen-url`."""
    return _with(command, [_app_option(), *_url_options()])


def _with(command: F, options: Iterable[click.Option]) -> F:
    # Where click's own decorators leave the parameters of a function that is not a command yet: the last one first.
    parameters = command.__dict__.setdefault("__click_params__", [])
    parameters.extend(reversed(list(options)))
    return command


def json_option(command: F) -> F:
    """`--json`, given to the function as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def actor_option(command: F) -> F:
    """`--actor`: who does it; the user of the operating system unless given."""
    return click.option(
        "--actor", metavar="WHO", default=_user, help="Who does it, for the log of operations; you, unless given."
    )(command)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def settings() -> Settings:
    """The settings of the command that runs. Raises `ConfigurationError`."""
    given = click.get_current_context().meta.get(_GIVEN, {})
    return settings_from(given, os.environ, Path.cwd())


def app_of_settings() -> App:
    """The app of the command that runs. Raises `ConfigurationError`."""
    chosen = settings()
    return find_app(chosen.needed_app, chosen.folder)


def optional_app_of_settings() -> App | None:
    """The app of the command that runs, or None where nothing says one. Raises `ConfigurationError`."""
    chosen = settings()
    return find_app(chosen.app, chosen.folder) if chosen.app is not None else None


class Group(click.Group):
    """The group of all commands, listed by what they are for."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sections: dict[str, list[str]] = {}
        self.params += [_app_option(), *_url_options(), _debug_option()]

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Adds commands under a title of the help text."""
        for command in commands:
            self.add_command(command)
            self.sections.setdefault(title, []).append(str(command.name))

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Whoever reads its output (head, less) may have seen enough before it ends."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is left must not fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # after the ^C
            raise click.Abort from None
        return code

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, section by section."""
        width = max(len(name) for name in self.commands)
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{name:<{width}}", self.commands[name].get_short_help_str(100)) for name in names]
                )
