"""Naming an app that is not there, or does not work, gives one line that says what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from refold import App
from refold.cli.user_app import find_app
from refold.errors import ConfigurationError, DefinitionError

GOOD = 'from refold import App\napp = App("shop")\nother = App("other")\nnumber = 3\n'


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("shop"):
            del sys.modules[name]
    sys.path[:] = path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_an_app_is_found_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path, "shop_module.py", GOOD)
    assert isinstance(find_app("shop_module:app", tmp_path), App)


def test_an_app_may_be_an_attribute_of_something(tmp_path: Path) -> None:
    write(tmp_path, "shop_inner.py", f"{GOOD}class Holder:\n    app = app\n")
    assert find_app("shop_inner:Holder.app", tmp_path).name == "shop"


@pytest.mark.parametrize("named", ["", "shop", "shop:", ":app", "shop app:app", "shop/app.py:app"])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, named: str) -> None:
    with pytest.raises(ConfigurationError, match="is not of the form module:attribute"):
        find_app(named, tmp_path)


def test_a_missing_module_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"no module 'shop_missing' in {tmp_path}"):
        find_app("shop_missing:app", tmp_path)
    write(tmp_path, "shop_package/__init__.py", "")
    with pytest.raises(ConfigurationError, match=r"no module 'shop_package\.inner'"):
        find_app("shop_package.inner:app", tmp_path)


def test_a_module_that_misses_another_is_told_apart_from_a_missing_one(tmp_path: Path) -> None:
    write(tmp_path, "shop_needy.py", "\nimport shop_nowhere\n")
    with pytest.raises(
        ConfigurationError, match=r"importing 'shop_needy' failed: .*shop_nowhere.* \(shop_needy\.py:2\)"
    ):
        find_app("shop_needy:app", tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def broken(:\n", r"SyntaxError: .*\(shop_broken\.py:1\)"),
        ("x = 1\ny = x / 0\n", r"ZeroDivisionError: division by zero \(shop_broken\.py:2\)"),
        ("import sys\nsys.exit(3)\n", r"SystemExit: 3 \(shop_broken\.py:2\)"),
    ],
)
def test_a_module_that_fails_says_why_and_where(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, "shop_broken.py", text)
    with pytest.raises(ConfigurationError, match=f"importing 'shop_broken' failed: {reason}"):
        find_app("shop_broken:app", tmp_path)


def test_a_wrong_definition_names_its_class(tmp_path: Path) -> None:
    write(
        tmp_path,
        "shop_wrong.py",
        "from refold import ReadModel\nclass Summary(ReadModel):\n    shop_id: str\n",
    )
    with pytest.raises(DefinitionError, match=r"shop_wrong\.Summary: a read model needs a key"):
        find_app("shop_wrong:app", tmp_path)


def test_a_missing_attribute_is_answered_with_the_apps_that_there_are(tmp_path: Path) -> None:
    write(tmp_path, "shop_two.py", GOOD)
    with pytest.raises(ConfigurationError, match=r"no 'aap'; its apps are shop_two:app, shop_two:other"):
        find_app("shop_two:aap", tmp_path)
    with pytest.raises(ConfigurationError, match=r"shop_two:number is not an App but int"):
        find_app("shop_two:number", tmp_path)
    write(tmp_path, "shop_none.py", "")
    with pytest.raises(ConfigurationError, match=r"it has no App at all"):
        find_app("shop_none:app", tmp_path)
