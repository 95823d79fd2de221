"""Which app and which store are meant: options, then the environment, then `refold.toml`."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from refold.errors import ConfigurationError

__all__ = ["FILE_NAME", "Settings", "settings_from"]

FILE_NAME = "refold.toml"
_KEYS = ("app", "url", "listen_url")
_SINKS = "sinks"
_SERVER = "server"
_SINK_VARIABLE = "REFOLD_SINK_"
_SQLITE = "sqlite:///"


class Settings(msgspec.Struct, frozen=True):
    """What a command works on. The app's module is looked for in `folder`: beside the file that names it."""

    app: str | None
    url: str | None
    listen_url: str | None
    folder: Path
    sinks: Mapping[str, str] = {}
    """Which read models live in another store, and the URL of that."""
    server: Mapping[str, Any] = {}
    """What `[server]` says, as it stands there; paths are meant from the folder of the file."""
    server_folder: Path = Path()

    @property
    def needed_app(self) -> str:
        """The app's `module:attribute`. Raises `ConfigurationError` when nothing says it."""
        if self.app is None:
            raise ConfigurationError(_missing("app", "which app is meant", "bank:app"))
        return self.app

    @property
    def needed_url(self) -> str:
        """The store's URL. Raises `ConfigurationError` when nothing says it."""
        if self.url is None:
            raise ConfigurationError(_missing("url", "which store is meant", "sqlite:///bank.db"))
        return self.url


def _missing(key: str, what: str, example: str) -> str:
    return f"{what} is not said: give --{key} {example}, set REFOLD_{key.upper()}, or write {key} = … in {FILE_NAME}"


def settings_from(options: Mapping[str, str | None], environment: Mapping[str, str], cwd: Path) -> Settings:
    """The settings of a command that is run in `cwd`. Raises `ConfigurationError` for a file that is wrong."""
    path = _nearest_file(cwd)
    from_file = _read(path, cwd) if path is not None else {}
    chosen: dict[str, str | None] = {}
    for key in _KEYS:
        if options.get(key) == "":
            # Most often a variable of the shell that is not set: no other store must be meant instead.
            raise ConfigurationError(f"--{key.replace('_', '-')} is empty; name one, or leave it out")
        given = options.get(key) or environment.get(f"REFOLD_{key.upper()}")
        chosen[key] = given or from_file.get(key)
        if not given and path is not None and key == "url" and key in from_file:
            chosen[key] = _beside(path, from_file[key], cwd)
    app_from_file = path is not None and chosen["app"] is not None and chosen["app"] == from_file.get("app")
    folder = path.parent if path is not None and app_from_file else cwd
    sinks = {name: _filled(name, url, environment) for name, url in from_file.get(_SINKS, {}).items()}
    for variable, url in environment.items():
        if variable.startswith(_SINK_VARIABLE) and url:
            sinks[variable.removeprefix(_SINK_VARIABLE).lower()] = url
    server = from_file.get(_SERVER, {})
    server_folder = cwd if path is None else path.parent
    return Settings(chosen["app"], chosen["url"], chosen["listen_url"], folder, sinks, server, server_folder)


def _filled(name: str, url: str, environment: Mapping[str, str]) -> str:
    """The URL of a sink with `${VARIABLE}` replaced: a password need not be in the file."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise ConfigurationError(
                f"{FILE_NAME}: the sink of {name!r} needs the variable {found[1]}, which is not set"
            )
        return environment[found[1]]

    return re.sub(r"\$\{(\w+)\}", value, url)


def _nearest_file(cwd: Path) -> Path | None:
    return next((folder / FILE_NAME for folder in (cwd, *cwd.parents) if (folder / FILE_NAME).is_file()), None)


def _read(path: Path, cwd: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            content = tomllib.load(stream)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"{_shown(path, cwd)} cannot be read: {problem}") from problem
    for key, value in content.items():
        if key == _SINKS:
            _check_sinks(value, path, cwd)
            continue
        if key == _SERVER:
            if not isinstance(value, dict):
                raise ConfigurationError(f'{_shown(path, cwd)}: [server] is a table, as in [server] keys = "keys.json"')
            continue
        if key not in _KEYS:
            known = ", ".join((*_KEYS, _SINKS, _SERVER))
            raise ConfigurationError(f"{_shown(path, cwd)}: {key!r} is not a setting; there are {known}")
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f'{_shown(path, cwd)}: {key} must be text in quotes, as in {key} = "…"')
    return content


def _check_sinks(value: Any, path: Path, cwd: Path) -> None:
    if not isinstance(value, dict) or not all(isinstance(url, str) and url for url in value.values()):
        raise ConfigurationError(
            f"{_shown(path, cwd)}: [sinks] has a line for each read model that lives elsewhere, as in "
            'account_search = "opensearch://127.0.0.1:9200"'
        )


def _beside(path: Path, url: str, cwd: Path) -> str:
    """A relative SQLite file is meant from where the settings are, whatever folder the command is run in."""
    name = url.removeprefix(_SQLITE)
    if name == url or name.startswith((":memory:", "/", "?")) or not name:
        return url
    return f"{_SQLITE}{_shown(path.parent / name, cwd)}"


def _shown(path: Path, cwd: Path) -> str:
    """The path as one would write it here: short names in what is printed."""
    below = os.path.relpath(path, cwd)
    return below if below.count("..") <= 3 else str(path)
