"""The reference page of the command line, written from its own help: `python -m tests.cli.reference` writes it anew."""

from __future__ import annotations

from pathlib import Path

import click

from refold.cli.main import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
_WIDTH = 100
_TOP = """# The command line

*Written from `refold --help` and the help of each command by `python -m tests.cli.reference`; the tests compare it.*
"""


def reference() -> str:
    """The text of the page."""
    top = _context(cli, None, "refold")
    parts = [_TOP, _block(top)]
    for title, names in cli.sections.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts.append(f"### refold {name}\n")
            command = cli.commands[name]
            context = _context(command, top, name)
            parts.append(_block(context))
            for inner, each in command.commands.items() if isinstance(command, click.Group) else ():
                parts.append(f"#### refold {name} {inner}\n")
                parts.append(_block(_context(each, context, inner)))
    return "\n".join(parts)


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    return click.Context(command, parent=parent, info_name=name, terminal_width=_WIDTH, **command.context_settings)


def _block(context: click.Context) -> str:
    text = "\n".join(line.rstrip() for line in context.get_help().splitlines())
    return f"```text\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(reference(), encoding="utf-8")
