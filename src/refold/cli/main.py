"""The `refold` command: its options, and how every error becomes one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import click

import refold
from refold.cli.call import call
from refold.cli.command import Group
from refold.cli.doctor import doctor
from refold.cli.exit_codes import BUG, INTERRUPTED, OK, TEXT, USAGE, exit_code_of
from refold.cli.init import init
from refold.cli.keys import keys
from refold.cli.migrate import migrate
from refold.cli.operations import operations
from refold.cli.parked import parked
from refold.cli.pause import pause, resume
from refold.cli.rebuild import rebuild, rollback
from refold.cli.rebuild import refold as refold_row
from refold.cli.replay import replay_test
from refold.cli.serve import dev, serve
from refold.cli.show import show
from refold.cli.status import status
from refold.cli.streams import history, streams
from refold.cli.transfer import export, import_
from refold.cli.verify import verify
from refold.cli.version import version
from refold.cli.worker import worker
from refold.errors import RefoldError, unexpected_in_words

__all__ = ["cli", "main", "run"]

_EXIT_CODES = "\n".join(f"  {code:<4} {text}" for code, text in TEXT.items())
_HELP = f"""Look after an event-sourced application: its store, its projections, its history.

Every command works on a store, and some on an app too. Say which by options, by the environment variables
REFOLD_URL, REFOLD_APP and REFOLD_LISTEN_URL, or once and for all in refold.toml in your project's folder:

\b
  app = "bank.app:app"          # module:attribute
  url = "sqlite:///bank.db"     # or postgresql://user@host/database

An option is stronger than the environment, and that is stronger than the file. Options may stand before or after the
command. Passwords are best left out of all three: Postgres finds them in PGPASSWORD or ~/.pgpass.

Tables are for people; --json prints the same for programs. Errors are one line on stderr, and the exit code says more:

\b
{_EXIT_CODES}
"""


def _without_command(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


cli = Group(
    "refold",
    help=_HELP,
    callback=click.pass_context(_without_command),
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGUMENTS]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
click.version_option(refold.__version__, message="refold %(version)s", help="Show the version and exit.")(cli)
cli.add_section("Begin", init, dev, migrate, version)
cli.add_section("Run", worker, status, pause, resume, parked)
cli.add_section("Serve", serve, keys, call)
cli.add_section("Refold", rebuild, rollback, refold_row)
cli.add_section("Look", streams, history, show, operations)
cli.add_section("Move", export, import_)
cli.add_section("Check", verify, replay_test, doctor)


def main() -> None:
    """The entry point of the `refold` script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; gives its exit code. An error is printed as one line, unless --debug asks for more."""
    # What the library logs is for applications; a command says by itself what its user must know.
    logging.getLogger("refold").addHandler(logging.NullHandler())
    try:
        code = cli.main(args=list(arguments), prog_name="refold", standalone_mode=False)
    except click.UsageError as problem:
        command = problem.ctx.command_path if problem.ctx is not None else "refold"
        return _fail(f"{problem.format_message().rstrip('.')}; see `{command} --help`", USAGE)
    except click.ClickException as problem:
        return _fail(problem.format_message(), USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except Exception as problem:
        if "--debug" in arguments:
            raise
        if isinstance(problem, RefoldError):
            return _fail(str(problem), exit_code_of(problem))
        return _fail(f"unexpected {unexpected_in_words(problem)}; --debug shows where", BUG)
    return code if isinstance(code, int) else OK


def _fail(message: str, code: int) -> int:
    click.secho(f"refold: {' '.join(message.split())}", fg="red", err=True)
    return code
