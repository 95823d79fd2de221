"""Writes docs/reference/ from the docstrings: one page for each public module. `--check` only says whether the pages
are current.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
PAGES = {
    "api": ("The public names", "refold"),
    "context": ("The connected context", "refold.app.context"),
    "sync": ("Without async", "refold.app.sync"),
    "projections": ("Dealing with projections", "refold.projections.projections"),
    "sync-projections": ("Dealing with projections, without async", "refold.app.sync_projections"),
    "unit-of-work": ("The unit of work", "refold.commands.unit_of_work"),
    "receipt": ("Receipts", "refold.commands.receipt"),
    "errors": ("Errors", "refold.errors"),
    "recorded": ("Recorded events", "refold.messages.recorded"),
    "metadata": ("Metadata", "refold.messages.metadata"),
    "append": ("Appends and their results", "refold.store.append"),
    "event-store": ("The event store's interface", "refold.store.event_store"),
    "limits": ("Limits and group commit", "refold.store.group_commit"),
    "conditions": ("Conditions on read models", "refold.projections.conditions"),
    "monitor": ("The monitor", "refold.operations.monitor"),
    "endpoints": ("Endpoints for monitoring", "refold.operations.endpoints"),
    "server": ("The server", "refold.server"),
    "client": ("The client", "refold.client"),
    "testing": ("The testing kit", "refold.testing"),
}
NOTE = "<!-- Written by scripts/reference.py from the docstrings; change those, then run `make docs`. -->"


def signature_of(thing: Any) -> str:
    """The signature as one would write it, without the module names that only add noise."""
    try:
        text = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return ""
    text = re.sub(r"\b(?:[a-z_]+\.)+([A-Za-z_]+)", r"\1", text)
    return text.replace("'", "").replace("(self, ", "(").replace("(self)", "()")


def docstring_of(thing: Any) -> str:
    """Its docstring, examples set off as code."""
    return inspect.getdoc(thing) or ""


def methods_of(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class defines itself, in the order of its source."""
    for name, member in vars(cls).items():
        if name.startswith("_") or not (inspect.isroutine(member) or isinstance(member, (property, classmethod))):
            continue
        yield name, member


def entry(name: str, thing: Any) -> str:
    """The section of one public name."""
    if inspect.isclass(thing):
        shown = "" if issubclass(thing, BaseException) else signature_of(thing)
        parts = [f"## `{name}`", f"```text\nclass {name}{shown}\n```" if shown else "", docstring_of(thing)]
        for method_name, member in methods_of(thing):
            if isinstance(member, property):
                parts.append(f"### `{name}.{method_name}`\n\n{docstring_of(member)}")
            else:
                function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
                kind = "async " if inspect.iscoroutinefunction(inspect.unwrap(function)) else ""
                parts.append(
                    f"### `{name}.{method_name}`\n\n```text\n{kind}{method_name}{signature_of(function)}\n```\n\n"
                    f"{docstring_of(function)}"
                )
        return "\n\n".join(part for part in parts if part)
    if inspect.isroutine(thing):
        return f"## `{name}`\n\n```text\n{name}{signature_of(thing)}\n```\n\n{docstring_of(thing)}"
    return f"## `{name}`\n\n`{thing!r}`"


def page(title: str, module_name: str) -> str:
    """One page of the reference."""
    module = importlib.import_module(module_name)
    intro = (module.__doc__ or "").strip()
    names = [name for name in module.__all__ if not name.startswith("__")]
    sections = [entry(name, getattr(module, name)) for name in names]
    return "\n\n".join([f"# {title}", NOTE, f"`{module_name}`: {intro}", *sections]) + "\n"


def index() -> str:
    """The page that lists the others."""
    rows = [f"| [{title}]({name}.md) | `{module}` |" for name, (title, module) in PAGES.items()]
    others = [
        f"| [{path.stem}]({path.name}) | written by hand |"
        for path in sorted(FOLDER.glob("*.md"))
        if path.stem not in PAGES and path.stem != "README"
    ]
    return "\n".join(["# Reference", "", NOTE, "", "| page | module |", "|---|---|", *rows, *others]) + "\n"


def main() -> int:
    """Writes the pages, or with `--check` compares them with what would be written."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = {f"{name}.md": page(*what) for name, what in PAGES.items()}
    wanted["README.md"] = index()
    if "--check" in sys.argv:
        old = [
            name for name, text in wanted.items() if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
        ]
        if old:
            print(f"docs/reference is not current: {', '.join(old)}; run `make docs`")
        return 1 if old else 0
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
