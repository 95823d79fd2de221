"""Reading the log by several processes: to each, the server sends the events of its share of the streams alone."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import pq

from refold.errors import StoreCorrupt
from refold.store.event_store import EventFilter, LogPage, validate_page
from refold.store.postgres import wire
from refold.store.postgres.address import Address
from refold.store.postgres.queries import HEAD
from refold.store.postgres.rows import COLUMNS, Rows
from refold.store.postgres.wire import Parameter

__all__ = ["ShareQueries"]

# All streams of one id are in one share, whatever their category: a row with that id is made from all of them. Nothing
# is kept of the hash, so it need not be the same on another server.
_ID = "case strpos(e.stream, '-') when 0 then '' else substr(e.stream, strpos(e.stream, '-') + 1) end"
_PAGE = f"""
select {COLUMNS}, b.head, b.stop, b.there from (
    select h.head, s.stop, (
        select count(*) from @schema@.events c where c.position > $1 and c.position <= s.stop
    ) as there
    from ({HEAD}) h cross join lateral (select least($1 + $2, h.head) as stop) s
) b
left join lateral (
    select * from @schema@.events e
    where e.position > $1 and e.position <= b.stop and (hashtext({_ID}) & 2147483647) % $4 = $3
    order by e.position
) e on true"""


class ShareQueries:
    """Reads pages of one share, `number` of `of`. `limit` is the number of positions that a page goes over."""

    def __init__(self, address: Address, number: int, of: int) -> None:
        self._address = address
        self._sql = address.of(_PAGE).encode()
        self._share = (wire.integer(number), wire.integer(of))

    def statement(
        self, after: int, limit: int, where: EventFilter, backward: bool
    ) -> tuple[bytes, Sequence[Parameter]]:
        """The statement for one page. Raises `InvalidQuery`."""
        validate_page(after, limit)
        assert where.everything
        assert not backward
        return self._sql, (wire.bigint(after), wire.bigint(limit), *self._share)

    def page(
        self, result: pq.abc.PGresult, rows: Rows, after: int, limit: int, where: EventFilter, backward: bool
    ) -> LogPage:
        """The page that the statement gave. Raises `StoreCorrupt` where positions are missing, in whatever share."""
        events, (head, stop, there) = rows.filtered_page(result)
        if there != max(stop - after, 0):
            raise StoreCorrupt(
                f"{self._address.name}: of the positions {after + 1} to {stop} only {there} are in the log; it was "
                "damaged or written to by something else than Refold; restore it from a backup"
            )
        return LogPage(events, max(stop, after), head)
