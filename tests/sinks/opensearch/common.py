"""What the tests of read models in OpenSearch share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from refold import faults
from refold.errors import StoreUnavailable
from refold.folds.dispatch import evolve
from refold.folds.read_model import ReadModel, read_model_of
from refold.messages.event import Event
from refold.projections.checkpoint import Move
from refold.projections.conditions import Condition, checked, orders_of
from refold.projections.row_store import Standing
from refold.projections.sink import Query
from refold.projections.sinks.opensearch import OpenSearchRows
from refold.testing.sink_contract import EVERYTHING, ID, Everything

NAME = EVERYTHING.name
HEAD = Standing(fingerprint=EVERYTHING.fingerprint, epoch=1)


async def put(rows: OpenSearchRows, *given: Everything, deleted: Any = (), epoch: int = 1, table: str = NAME) -> int:
    """Writes the next position."""
    stands = await rows.standing(table)
    assert stands is not None
    at = stands.position + 1
    assert await rows.write(EVERYTHING, table, given, deleted, Move(at - 1, at, ID, epoch))
    return at


async def ids(rows: OpenSearchRows, *conditions: Condition, limit: int | None = None, order: Any = ()) -> list[str]:
    where = checked(EVERYTHING, conditions, {})
    _, _, found = await rows.read(EVERYTHING, NAME, [], Query(where, orders_of(EVERYTHING, order), limit))
    if limit is None:
        assert await rows.count(EVERYTHING, NAME, where) == len(found)
    return [row.id for row in found]  # type: ignore[attr-defined]  # rows of this model


@contextmanager
def torn() -> Iterator[None]:
    """The process dies, as far as the server sees, between the rows and the checkpoint."""

    def tear(point: str) -> None:
        if point == "external.rows_before_checkpoint":
            raise StoreUnavailable("torn")

    faults.install(tear)
    try:
        with pytest.raises(StoreUnavailable, match="torn"):
            yield
    finally:
        faults.install(None)


class Written(Event, name="OpenSearchTestWritten"):
    pass


class Article(ReadModel, key="slug", name="article"):
    """Text to be searched."""

    slug: str
    title: str = ""
    body: str = ""
    tags: list[str] = []
    views: int = 0

    @evolve
    def written(self, event: Written) -> None:
        """Never called."""


ARTICLE = read_model_of(Article)
