"""Servers for tests: in this process, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from refold.server import ApiKeys, Authentication, Server
from refold.server.security import guard
from refold.server.security.pace import Pace
from tests.server.domain import app

LOOPBACK = ("127.0.0.1", 40_000)


def calling(server: Server, *, key: str | None = None, client: tuple[str, int] = LOOPBACK) -> httpx.AsyncClient:
    """A client of a server in this process."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app=server, client=client)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return "sqlite:///:memory:"
    url: str = request.getfixturevalue("empty_postgres18")
    return url


@pytest.fixture
async def server(store_url: str) -> AsyncIterator[Server]:
    """A server of the small bank, on each store, that keeps its read models current."""
    async with Server(app, store_url) as running:
        yield running


@pytest.fixture
async def api(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it, on this machine."""
    async with calling(server) as client:
        yield client


@pytest.fixture
def keys(tmp_path: Path) -> ApiKeys:
    """A file of API keys."""
    return ApiKeys(tmp_path / "keys.json")


@pytest.fixture
async def guarded(tmp_path: Path, keys: ApiKeys) -> AsyncIterator[Server]:
    """A server that asks who one is."""
    authentication = Authentication(keys=tmp_path / "keys.json")
    async with Server(app, "sqlite:///:memory:", authentication=authentication) as running:
        yield running


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may call again for having waited, however long the calls before took."""
    monkeypatch.setattr(guard, "Pace", partial(Pace, clock=lambda: 0.0))
