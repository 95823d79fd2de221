"""A log of its own for each test, in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from refold import faults
from refold.store.sqlite import SqliteStore, open_sqlite


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(url)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def no_faults_left() -> Iterator[None]:
    yield
    faults.install(None)
