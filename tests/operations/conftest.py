"""Stores of every kind, for operations that must do the same on each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from refold.app.stores import open_store
from refold.store.event_store import EventStore
from refold.store.group_commit import Limits
from refold.testing.memory import MemoryStore
from tests.operations.tampering import PostgresTamperer, SqliteTamperer, Tamperer
from tests.servers import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def store(request: pytest.FixtureRequest, urls: dict[str, str]) -> AsyncIterator[EventStore]:
    """An empty store."""
    async for each in _new_store(request, urls):
        yield each


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def other(request: pytest.FixtureRequest, urls: dict[str, str]) -> AsyncIterator[EventStore]:
    """Another empty store, of any kind."""
    async for each in _new_store(request, urls):
        yield each


@pytest.fixture
def urls() -> dict[str, str]:
    """The URL of each store on disk, by its name."""
    return {}


@pytest.fixture
def tamperer(store: EventStore, urls: dict[str, str]) -> Tamperer:
    """Changes `store` behind its back."""
    url = urls[store.name]
    return SqliteTamperer(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else PostgresTamperer(url)


async def _new_store(request: pytest.FixtureRequest, urls: dict[str, str]) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    name = f"operations_{next(_numbers)}"
    server: PostgresServer | None = None
    if request.param == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path")
        url = f"sqlite:///{folder / name}.db"
    else:
        server = request.getfixturevalue("postgres18")
        url = server.create_database(name)
    opened = await open_store(url, limits=Limits(), listen_url=None, read_only=False)
    urls[opened.name] = url
    yield opened
    await opened.close()
    if server is not None:
        server.drop_database(name)
