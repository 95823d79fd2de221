"""What `refold serve`, `refold dev` and `refold keys` have in common: the settings of the server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from refold.cli.settings import FILE_NAME, Settings
from refold.errors import ConfigurationError, MissingExtra

__all__ = ["ServerTable", "needs_server", "server_table"]

_KEYS_VARIABLE = "REFOLD_KEYS"


class TokensTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server.tokens]`: an issuer of OpenID Connect."""

    issuer: str
    audience: str
    keys_url: str
    roles_claim: str = "roles"
    name_claim: str = "sub"
    roles: Mapping[str, str] = {}


class ServerTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]` of refold.toml."""

    address: str | None = None
    keys: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    behind_proxy: bool = False
    projections: bool | None = None
    tokens: TokensTable | None = None


def server_table(settings: Settings, environment: Mapping[str, str]) -> ServerTable:
    """What the file and the environment say of the server. Raises `ConfigurationError`."""
    try:
        table = msgspec.convert(settings.server, ServerTable)
    except msgspec.ValidationError as problem:
        raise ConfigurationError(f"{FILE_NAME}: [server]: {problem}") from problem

    def beside(name: str | None) -> str | None:
        return None if name is None else _path(settings.server_folder / name)

    return msgspec.structs.replace(
        table,
        keys=environment.get(_KEYS_VARIABLE) or beside(table.keys),
        certificate=beside(table.certificate),
        private_key=beside(table.private_key),
    )


def needs_server() -> Any:
    """The module of the server. Raises `MissingExtra`."""
    try:
        from refold import server
    except ImportError as problem:
        raise MissingExtra(f'the server needs {problem.name}: pip install "refold[server]"') from problem
    return server


def _path(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else os.fspath(path)
