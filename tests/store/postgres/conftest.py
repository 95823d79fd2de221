"""A log of its own for each test, on each Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from refold import faults
from refold.store.postgres import open_postgres
from refold.store.postgres.store import PostgresStore


@pytest.fixture
async def store(fresh_database: str) -> AsyncIterator[PostgresStore]:
    store = await open_postgres(fresh_database)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def no_faults_left() -> Iterator[None]:
    yield
    faults.install(None)
