"""Run all code of one page: `python -m tests.docs.page README.md`, in a process and a temporary folder of its own."""

import argparse
import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import json
import os
import sys
import tempfile
import tomllib
import types
from collections.abc import Callable
from pathlib import Path

from tests.docs.blocks import BadPage, Block, blocks_of
from tests.docs.databases import Databases, NoServer
from tests.docs.shell import CommandFailed, Shell, commands_of

SHELL_LANGUAGES = {"sh", "console", "bash"}


class OutputDiffers(Exception):
    """A page shows another output than what was printed; the text has both."""


class Page:
    """The state that the blocks of one page share: namespace, event loop, shell, folder and databases."""

    def __init__(self, folder: Path, databases: Databases, loop: asyncio.Runner, shell: Shell) -> None:
        """Everything that is given here is closed by who made it."""
        self._folder = folder
        self._databases = databases
        self._loop = loop
        self._shell = shell
        self._printed = ""
        # A real module: annotations of the page's classes are looked up in the module that is named in them.
        self._module = types.ModuleType("page")
        sys.modules["page"] = self._module

    def run(self, block: Block) -> None:
        """Run one block. Raises what its code raises, CommandFailed, or OutputDiffers."""
        text = self._databases.with_real_urls(block.text)
        if block.reason_not_to_run is not None:
            print(f"{block}: not run: {block.reason_not_to_run}")
        elif "file" in block.options:
            path = self._folder / block.options["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif "output" in block.options:
            assert_same_output(block.text, self._databases.with_shown_urls(self._printed), str(block))
        elif block.language == "python":
            self._run_python(block, text)
        elif block.language in SHELL_LANGUAGES:
            self._run_shell(block, text)
        else:
            check_data(block)

    def _run_python(self, block: Block, text: str) -> None:
        # The empty lines make a traceback show the page's own line numbers.
        source = "\n" * (block.line - 1) + text
        code = compile(source, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            result = eval(code, self._module.__dict__)
            if inspect.iscoroutine(result):
                self._loop.run(result)
        self._printed = printed.getvalue()

    def _run_shell(self, block: Block, text: str) -> None:
        commands = commands_of(text)
        if block.language == "console" and not commands:
            raise BadPage(f"{block}: a console block shows commands as `$ command`")
        if not commands:
            self._shell.run(text, expected_exit=block.options.get("exit", "0"), place=str(block))
        for command in commands:
            is_last = command is commands[-1]
            place = f"{block.page}:{block.line + command.line}"
            output = self._shell.run(
                command.text, expected_exit=block.options.get("exit", "0") if is_last else "0", place=place
            )
            if command.output:
                shown = self._databases.with_shown_urls(output)
                assert_same_output(self._databases.with_shown_urls(command.output), shown, place)


def runs_something(blocks: list[Block]) -> bool:
    """Whether a page has anything but data and blocks that are not to run."""
    return any(
        block.reason_not_to_run is None and (block.language in {"python", *SHELL_LANGUAGES} or block.options)
        for block in blocks
    )


def check_data(block: Block) -> None:
    """A block of JSON or TOML has to be that. Raises BadPage."""
    if block.reason_not_to_run is not None:
        return
    if block.language == "json":
        _parse(json.loads, block)
    elif block.language == "toml":
        _parse(tomllib.loads, block)


def _parse(parser: Callable[[str], object], block: Block) -> None:
    try:
        parser(block.text)
    except ValueError as reason:
        raise BadPage(f"{block}: this is not {block.language}: {reason}") from reason


def assert_same_output(shown: str, printed: str, place: str) -> None:
    """Compare what a page shows with what was printed; in the page `...` stands for anything."""
    want, got = ("".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines()) for text in (shown, printed))
    if not doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS):
        raise OutputDiffers(f"{place}: the page shows\n{want}\nbut this was printed\n{got}")


def main() -> int:
    """Run the page that the command line names; the exit code is 1 when something on it is not true."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.page", description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--postgres", metavar="URL", help="a server on which postgresql://localhost/NAME is made real")
    parser.add_argument("--opensearch", metavar="URL", help="a server that stands for localhost:9200")
    parser.add_argument("--redis", metavar="URL", help="a server that stands for localhost:6379")
    parser.add_argument("--neo4j", metavar="URL", help="a server that stands for localhost:7687")
    arguments = parser.parse_args()
    page = arguments.page.resolve()
    with (
        tempfile.TemporaryDirectory(prefix="refold-docs-") as folder,
        Databases(arguments.postgres, arguments.opensearch, arguments.redis, arguments.neo4j) as databases,
        Shell(Path(folder)) as shell,
        asyncio.Runner() as loop,
    ):
        os.chdir(folder)
        sys.path.insert(0, folder)
        running = Page(Path(folder), databases, loop, shell)
        try:
            for block in blocks_of(page):
                running.run(block)
        except (BadPage, CommandFailed, NoServer, OutputDiffers) as failure:
            print(failure, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
