"""Options are stronger than the environment, and that is stronger than refold.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from refold.cli.settings import settings_from
from refold.errors import ConfigurationError

FILE = 'app = "file:app"\nurl = "postgresql://file/bank"\nlisten_url = "postgresql://direct/bank"\n'


def write(folder: Path, text: str) -> None:
    (folder / "refold.toml").write_text(text, encoding="utf-8")


def test_an_option_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    write(tmp_path, FILE)
    chosen = settings_from({"app": "option:app"}, {"REFOLD_APP": "env:app", "REFOLD_URL": "sqlite:///env.db"}, tmp_path)
    assert (chosen.app, chosen.url, chosen.listen_url) == (
        "option:app",
        "sqlite:///env.db",
        "postgresql://direct/bank",
    )


def test_the_file_is_found_in_a_parent_folder_and_the_nearest_counts(tmp_path: Path) -> None:
    write(tmp_path, FILE)
    inner = tmp_path / "bank" / "deep"
    inner.mkdir(parents=True)
    assert settings_from({}, {}, inner).app == "file:app"
    write(tmp_path / "bank", 'app = "nearer:app"\n')
    assert settings_from({}, {}, inner).app == "nearer:app"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("sqlite:///bank.db", "sqlite:///../bank.db"),
        ("sqlite:///data/bank.db", "sqlite:///../data/bank.db"),
        ("sqlite:////var/bank.db", "sqlite:////var/bank.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://localhost/bank", "postgresql://localhost/bank"),
    ],
)
def test_a_relative_file_is_meant_from_where_the_settings_are(tmp_path: Path, written: str, meant: str) -> None:
    write(tmp_path, f'url = "{written}"\n')
    (tmp_path / "deep").mkdir()
    assert settings_from({}, {}, tmp_path / "deep").url == meant


def test_the_module_is_looked_for_beside_the_file_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, FILE)
    (tmp_path / "deep").mkdir()
    assert settings_from({}, {}, tmp_path / "deep").folder == tmp_path
    assert settings_from({"app": "other:app"}, {}, tmp_path / "deep").folder == tmp_path / "deep"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("url = \n", "cannot be read"),
        ("uri = 'x'\n", "'uri' is not a setting; there are app, url, listen_url"),
        ("[refold]\napp = 'x:y'\n", "'refold' is not a setting"),
        ("app = 3\n", "app must be text in quotes"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=reason) as refused:
        settings_from({}, {}, tmp_path)
    assert "refold.toml" in str(refused.value)


def test_what_is_missing_is_said_with_every_way_to_give_it(tmp_path: Path) -> None:
    chosen = settings_from({}, {}, tmp_path)
    with pytest.raises(ConfigurationError, match=r"--app bank:app, set REFOLD_APP, or write app = … in refold\.toml"):
        _ = chosen.needed_app
    with pytest.raises(ConfigurationError, match=r"--url sqlite:///bank\.db, set REFOLD_URL"):
        _ = chosen.needed_url


@pytest.mark.parametrize("key", ["app", "url", "listen_url"])
def test_an_option_that_is_empty_means_no_other_store(key: str, tmp_path: Path) -> None:
    """`--url "$UNSET"` must not work on the store that the file names."""
    (tmp_path / "refold.toml").write_text('app = "bank:app"\nurl = "sqlite:///bank.db"\n')
    with pytest.raises(ConfigurationError, match=f"--{key.replace('_', '-')} is empty"):
        settings_from({key: ""}, {}, tmp_path)
