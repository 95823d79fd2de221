"""Stores of every kind, for operations that must do the same on each."""

from __future__ import annotations

import pytest

from refold.store.event_store import EventStore
from refold.testing.memory import MemoryStore


@pytest.fixture
def store() -> EventStore:
    return MemoryStore()


@pytest.fixture
def other() -> EventStore:
    return MemoryStore()
