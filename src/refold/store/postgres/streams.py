"""Listing streams: a loose scan of the index, from one stream straight to the next, however many events lie between."""

from __future__ import annotations

from refold.store.event_store import StreamInfo
from refold.store.postgres import wire
from refold.store.postgres.address import Address
from refold.store.postgres.pool import SessionPool
from refold.store.postgres.rows import Rows

__all__ = ["StreamQueries"]

_PAGE = """
with recursive s (stream) as (
    (select e.stream from @schema@.events e where e.stream > $1 and e.stream < $2 order by e.stream limit 1)
    union all
    select (
        select e.stream from @schema@.events e where e.stream > s.stream and e.stream < $2 order by e.stream limit 1
    )
    from s where s.stream is not null
)
select s.stream, l.version, l.position, l.recorded_at
from (select stream from s where stream is not null limit $3) s, lateral (
    select e.version, e.position, e.recorded_at from @schema@.events e
    where e.stream = s.stream order by e.version desc limit 1
) l"""
_LAST = "\U0010ffff"
"""Sorts behind every stream id: ids are printable, and this is not a character."""


class StreamQueries:
    """Lists the streams of one log."""

    def __init__(self, address: Address, pool: SessionPool) -> None:
        self._pool = pool
        self._rows = Rows()
        self._page = address.of(_PAGE).encode()

    async def page(self, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        """Streams in the order of their ids, those after `after`."""
        if category is None:
            return await self._between(after, _LAST, limit)
        found: list[StreamInfo] = []
        if after < category:
            # A stream may be called as its category, without a dash; others may sort between it and those with one.
            found = [info for info in await self._between(after, category + "\x01", limit) if info.stream == category]
        # "." follows "-"; so everything below it and from "category-" on is the category's.
        found += await self._between(max(after, f"{category}-"), f"{category}.", limit)
        return found[:limit]

    async def _between(self, after: str, before: str, limit: int) -> list[StreamInfo]:
        parameters = (wire.text(after), wire.text(before), wire.bigint(max(limit, 1)))
        return [StreamInfo(*row) for row in self._rows.of(await self._pool.query(self._page, parameters))]
