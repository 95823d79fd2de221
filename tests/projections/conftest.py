"""Read models on each store."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

# The contract's assertions show what they compared, though they live in the library.
pytest.register_assert_rewrite("refold.testing.sink_contract")

from refold.testing.memory import MemoryStore  # noqa: E402  # after the rewriting is arranged

STORES = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Where a context connects to: a store in memory, or the URL of an empty database. It may be connected to again."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bank.db"
    return request.getfixturevalue("postgres18").create_database(f"projections_{uuid4().hex}")
