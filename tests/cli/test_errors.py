"""Whatever is wrong with a command line, it is one line on stderr, with an exit code that says what kind of thing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from refold import __version__
from tests.cli.runner import assert_refused, refold, refold_here

USAGE, STORE, DATA, REFUSED = 2, 3, 4, 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dance"], ["No such command 'dance'", "see `refold --help`"]),
        (["streams", "--color"], ["No such option", "--color", "see `refold streams --help`"]),
        (["history"], ["Missing argument 'STREAM'"]),
        (["streams", "--limit", "0"], ["--limit", "0 is not in the range"]),
        (["streams", "--limit", "many"], ["'many' is not a valid integer"]),
        (["show", "account-1", "--as-of", "yesterday"], ["'yesterday' is not a time", "2026-01-15T12:00:00Z"]),
        (["show", "account-1", "--as-of", "2026-01-15T12:00"], ["names no moment without a time zone"]),
        (["show", "account-1", "--at-version", "-1"], ["--at-version", "-1 is not in the range"]),
        (["show", "account-1", "--occurred"], ["--occurred says which time --as-of means"]),
        (["streams"], ["which store is meant is not said", "--url", "REFOLD_URL", "refold.toml"]),
        (["show", "account-1", "--url", "sqlite:///bank.db"], ["which app is meant is not said", "--app bank:app"]),
        (["show", "account-1", "--app", "bank"], ["'bank' is not of the form module:attribute"]),
        (["show", "account-1", "--app", "nowhere:app"], ["there is no module 'nowhere'"]),
        (
            ["streams", "--url", "mysql://root:secret@db/bank"],
            ["no store is known for a URL that begins with 'mysql:'"],
        ),
        (["streams", "--url", "bank.db"], ["no scheme", "sqlite:///file.db"]),
        (["streams", "--url", ""], ["--url is empty", "leave it out"]),
        (["streams", "--url", "http://[::1"], ["URL cannot be read"]),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], said: list[str]
) -> None:
    done = refold_here(*arguments, cwd=tmp_path)
    assert_refused(done, USAGE, *said)
    assert "secret" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_settings_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "refold.toml").write_text('uri = "sqlite:///bank.db"\n', encoding="utf-8")
    assert_refused(refold_here("streams", cwd=tmp_path), USAGE, "refold.toml", "'uri' is not a setting")


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_sink_of_no_read_model_is_refused(tmp_path: Path, command: str) -> None:
    settings = 'app = "tests.domain:bank"\nurl = "sqlite:///bank.db"\n[sinks]\nnowhere = "redis://h/0"\n'
    (tmp_path / "refold.toml").write_text(settings, encoding="utf-8")
    assert_refused(refold_here(command, cwd=tmp_path), USAGE, "no read model 'nowhere'", "it has:")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = refold("streams", "--url", "mysql://db", "--debug", cwd=tmp_path)
    assert done.code == 1
    assert "Traceback" in done.err
    assert "ConfigurationError" in done.err


def test_without_its_script() -> None:
    command = [sys.executable, "-m", "refold", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "refold" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_is_not_an_error(tmp_path: Path, arguments: list[str]) -> None:
    done = refold(*arguments, cwd=tmp_path)
    assert done.code == 0
    assert done.err == ""
    assert "refold.toml" in done.out
    assert all(len(line) <= 80 or line.startswith("    ") for line in done.out.splitlines())


def test_the_version_is_said(tmp_path: Path) -> None:
    assert refold("--version", cwd=tmp_path).out == f"refold {__version__}\n"
    assert refold("version", "--json", cwd=tmp_path).json["refold"] == __version__


def test_options_may_stand_before_and_after_the_command(tmp_path: Path) -> None:
    before = refold_here("--url", "mysql://db", "streams", cwd=tmp_path)
    after = refold_here("streams", "--url", "mysql://db", cwd=tmp_path)
    both = refold_here("--url", "oracle://db", "streams", "--url", "mysql://db", cwd=tmp_path)
    assert before == after == both
