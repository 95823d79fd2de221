"""The runner of the pages' code bites: a page that lies fails, and says on which line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import BadPage, blocks_of
from tests.docs.shell import commands_of
from tests.servers import PostgresServer

PROJECT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, text: str, *options: str) -> tuple[int, str]:
    page = tmp_path / "page.md"
    page.write_text(text.replace("'''", "```"), encoding="utf-8")
    command = [sys.executable, "-m", "tests.docs.page", str(page), *options]
    done = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


TRUE_PAGES = {
    "await and one namespace": "'''python\nimport asyncio\nx = 1\n'''\n"
    "'''python\nawait asyncio.sleep(0)\nassert x == 1\n'''\n",
    "printed": "'''python\nprint('one')\nprint('2026-01-01')\n'''\n'''text output\none\n2026-...\n'''\n",
    "a file": "'''python file='bank.py'\nowner = 'alice'\n'''\n"
    "'''python\nimport bank\nassert bank.owner == 'alice'\n'''\n"
    "'''console\n$ cat bank.py\nowner = 'alice'\n'''\n".replace("'bank.py'", '"bank.py"'),
    "output": "'''console\n$ echo one; echo two\none\n...\n$ echo not compared\n'''\n",
    "one shell": "'''sh\nmkdir shop\ncd shop\nX=7\n'''\n'''console\n$ echo $X in $(basename $PWD)\n7 in shop\n'''\n",
    "an exit code": "'''console exit=\"3\"\n$ sh -c 'echo refused; exit 3'\nrefused\n'''\n",
    "continued": "'''console\n$ echo one \\\n>   two\none two\n'''\n",
    "not run": "'''sh norun=\"takes an hour\"\nexit 1\n'''\n'''python skip=\"only an outline\"\n1 / 0\n'''\n",
    "our python": "'''console\n$ python -c 'import msgspec; print(msgspec.__name__)'\nmsgspec\n'''\n",
    "classes find their annotations": "'''python\nimport msgspec\nclass A(msgspec.Struct):\n    n: 'B'\n"
    "class B(msgspec.Struct):\n    x: int\nassert msgspec.json.decode(b'{\"n\": {\"x\": 1}}', type=A).n.x == 1\n'''\n",
    "inside a list": "- so:\n\n  '''python\n  assert 1\n  '''\n",
    "a background job ends with the page": "'''sh\nsleep 1000 &\n'''\n",
}


@pytest.mark.parametrize("name", TRUE_PAGES)
def test_a_true_page_passes(tmp_path: Path, name: str) -> None:
    code, output = run(tmp_path, TRUE_PAGES[name])
    assert (code, "Traceback" in output) == (0, False), output


FALSE_PAGES = {
    "python that fails": ("text\n\n'''python\nx = 1\nassert x == 2\n'''\n", 'page.md", line 5'),
    "other print": ("'''python\nprint(1)\n'''\n'''text output\n2\n'''\n", "page.md:5: the page shows"),
    "other output": ("'''console\n$ echo one\n$ echo two\nthree\n'''\n", "page.md:3: the page shows"),
    "failing command": ("'''sh\n$ false\n'''\n", "page.md:2: false\nended with 1"),
    "failing script": ("'''sh\nset -e\nfalse\n'''\n", "the end of the shell"),
    "commands without a sign": ("'''console\nls\n'''\n", "shows commands as"),
    "no end": ("'''python\n", "page.md:1: this block has no end"),
    "no reason": ("'''python skip=\"\"\n1 / 0\n'''\n", "skip needs a reason"),
    "unknown option": ("'''python runs\n'''\n", "cannot understand 'runs'"),
    "broken JSON": ("'''json\n{a: 1}\n'''\n", "page.md:2: this is not json"),
    "no server": ("'''python\nurl = 'postgresql://localhost/bank'\n'''\n", "needs a server"),
}


@pytest.mark.parametrize("name", FALSE_PAGES)
def test_a_false_page_fails_and_says_where(tmp_path: Path, name: str) -> None:
    text, complaint = FALSE_PAGES[name]
    code, output = run(tmp_path, text)
    assert code == 1
    assert complaint in output


@pytest.mark.postgres
def test_shown_addresses_are_real_databases(tmp_path: Path, postgres18: PostgresServer) -> None:
    text = (
        "'''python\nimport psycopg\nurl = 'postgresql://localhost/bank'\n"
        "with psycopg.connect(url) as c:\n    c.execute('CREATE TABLE t (x int)')\nprint(url)\n'''\n"
        "'''text output\npostgresql://localhost/bank\n'''\n"
        "'''console\n$ echo postgresql://localhost/bank\npostgresql://localhost/bank\n'''\n"
    )
    code, output = run(tmp_path, text, "--postgres", postgres18.url())
    assert code == 0, output
    with postgres18.connect() as connection:
        assert connection.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'docs_bank%'").fetchone() == (0,)


def test_commands_and_their_output_are_told_apart() -> None:
    commands = commands_of("$ one \\\n  more\nout\n\n> not a continuation\n$ two\n")
    assert [(command.text, command.output, command.line) for command in commands] == [
        ("one \\\n  more\n", "out\n\n> not a continuation", 0),
        ("two\n", "", 5),
    ]


def test_a_longer_fence_holds_a_shorter_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("````text\n```python\n1 / 0\n```\n````\n", encoding="utf-8")
    assert [block.language for block in blocks_of(page)] == ["text"]


def test_a_page_without_an_end_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n", encoding="utf-8")
    with pytest.raises(BadPage, match="no end"):
        blocks_of(page)
