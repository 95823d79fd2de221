"""Fenced code blocks of a page, and what their info strings ask for.

```python                     run; the blocks of a page share one namespace, and `await` is allowed at the top level
```python file="bank.py"      written to a file in the page's folder instead (any language)
```text output                what the python block before it prints (`...` stands for anything)
```console                    lines with `$ ` are commands; what is shown below one is its output
```sh                         the same, or without any `$ ` a whole script
```console exit="1"           the last command ends with this code
```python skip="reason"       not run (for shell blocks: norun="reason"); only where it cannot be helped
"""

import re
from dataclasses import dataclass
from pathlib import Path

KNOWN_OPTIONS = {"file", "output", "exit", "skip", "norun"}

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`]*)$")
_OPTION = re.compile(r'(?P<name>\w+)(?:="(?P<value>[^"]*)")?\s*')


class BadPage(Exception):
    """A page's fences cannot be understood; the text says where and why."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, options, text, and the line of the page on which its text begins (from 1)."""

    page: Path
    line: int
    language: str
    options: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def reason_not_to_run(self) -> str | None:
        """The reason in `skip` or `norun`, or None when the block is to be run."""
        return self.options.get("skip", self.options.get("norun"))


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order. Raises BadPage for a fence without an end and for an unknown option."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        first = number
        indent, fence = opening["indent"], opening["fence"]
        while number < len(lines) and lines[number].strip() != fence:
            number += 1
        if number == len(lines):
            raise BadPage(f"{page}:{first}: this block has no end")
        text = "".join(f"{line.removeprefix(indent)}\n" for line in lines[first:number])
        language, _, rest = opening["info"].strip().partition(" ")
        found.append(Block(page, first + 1, language, _options(rest, f"{page}:{first}"), text))
        number += 1
    return found


def _options(text: str, place: str) -> dict[str, str]:
    options: dict[str, str] = {}
    position = 0
    while position < len(text):
        option = _OPTION.match(text, position)
        if option is None or option["name"] not in KNOWN_OPTIONS:
            raise BadPage(
                f"{place}: cannot understand {text[position:]!r}; known are {', '.join(sorted(KNOWN_OPTIONS))}"
            )
        options[option["name"]] = option["value"] or ""
        position = option.end()
    for name in {"skip", "norun"} & options.keys():
        if not options[name].strip():
            raise BadPage(f"{place}: {name} needs a reason")
    return options
