"""The bank on each store: what holds for commands holds on all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from refold.app import Context
from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore
from tests.domain import bank

SQL_STORES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


def _store(name: str, request: pytest.FixtureRequest, folder: Path) -> str | EventStore:
    if name == "memory":
        return MemoryStore()
    if name == "sqlite":
        return f"sqlite:///{folder}/bank.db"
    url: str = request.getfixturevalue("postgres18").create_database(f"commands_{uuid4().hex}")
    return url


@pytest.fixture(params=["memory", *SQL_STORES])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str | EventStore:
    """A new store of each kind, that can be connected to again and again."""
    return _store(request.param, request, tmp_path)


@pytest.fixture(params=["memory", *SQL_STORES])
async def context(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Context]:
    async with bank.connect(_store(request.param, request, tmp_path), projections=False) as connected:
        yield connected


@pytest.fixture(params=SQL_STORES)
async def sql(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Context]:
    """The bank on a store with SQL, where the user has a table `customers`."""
    async with bank.connect(_store(request.param, request, tmp_path), projections=False) as connected:
        async with connected.transaction() as unit:
            await unit.execute("create table customers (name text primary key)")
        yield connected
