"""Fixtures of the tests of projections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from refold.app import Context
from refold.store.event_store import EventStore
from tests.projections.stores import STORES, place, shop

# The contract's assertions show what they compared, though they live in the library.
pytest.register_assert_rewrite("refold.testing.sink_contract", "refold.testing.records_contract")


@pytest.fixture(params=STORES)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str | EventStore:
    """A new store of each kind."""
    return place(request.param, request, tmp_path)


@pytest.fixture
async def context(where: str | EventStore) -> AsyncIterator[Context]:
    """The shop, which keeps its read models current."""
    async with shop.connect(where, lease=1.0) as connected:
        yield connected


@pytest.fixture
async def idle(where: str | EventStore) -> AsyncIterator[Context]:
    """The shop without a worker."""
    async with shop.connect(where, projections=False) as connected:
        yield connected
