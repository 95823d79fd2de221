"""Reading the log. Each page comes with what the same snapshot knew: the head, and how far it was scanned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import pq

from refold.errors import StoreCorrupt
from refold.messages.recorded import StoredEvent
from refold.store.event_store import EventFilter, LogPage, validate_page
from refold.store.postgres import wire
from refold.store.postgres.address import Address
from refold.store.postgres.rows import COLUMNS, Rows
from refold.store.postgres.wire import Parameter

__all__ = ["HEAD", "LogQueries"]

_WINDOW = 20_000
"""Positions that one filtered read looks at, at most: some milliseconds, whatever matches."""
_CANDIDATES = 2_000
"""Tagged positions that one read by tag looks at, at least."""

HEAD = "select coalesce((select l.position from @schema@.events l order by l.position desc limit 1), 0) as head"
"""The log's last position."""
_FORWARD = f"""
select {COLUMNS}, h.head from ({HEAD}) h
left join lateral (select * from @schema@.events e where e.position > $1 order by e.position limit $2) e on true"""
_BACKWARD = f"""
select {COLUMNS}, h.head from ({HEAD}) h
left join lateral (select * from @schema@.events e where e.position < $1 order by e.position desc limit $2) e on true"""
_FROM_THE_END = 2**63 - 1


class _Parameters(list[Parameter]):
    """Collects parameters and gives their placeholders."""

    def __call__(self, parameter: Parameter) -> str:
        self.append(parameter)
        return f"${len(self)}"


class LogQueries:
    """Reads pages of one log."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._forward = address.of(_FORWARD).encode()
        self._backward = address.of(_BACKWARD).encode()

    def statement(
        self, after: int, limit: int, where: EventFilter, backward: bool
    ) -> tuple[bytes, Sequence[Parameter]]:
        """The statement for one page. Raises `InvalidQuery`."""
        validate_page(after, limit)
        if where.everything:
            if backward:
                return self._backward, (wire.bigint(after or _FROM_THE_END), wire.bigint(limit))
            return self._forward, (wire.bigint(after), wire.bigint(limit))
        parameters = _Parameters()
        sql = self._filtered(after, limit, where, backward, parameters)
        return self._address.of(sql).encode(), parameters

    def page(
        self, result: pq.abc.PGresult, rows: Rows, after: int, limit: int, where: EventFilter, backward: bool
    ) -> LogPage:
        """The page that the statement gave. Raises `StoreCorrupt` where positions are missing."""
        if where.everything:
            events, head = rows.page(result)
            self._refuse_gaps(events, after, limit, head, backward)
            if backward:
                full = len(events) == limit
                return LogPage(events, events[-1].position if full else min(head, 1), head)
            return LogPage(events, events[-1].position if events else after, head)
        events, others = rows.filtered_page(result)
        return self._scanned(events, others, after, limit, backward)

    def _scanned(
        self, events: list[StoredEvent], others: tuple[Any, ...], after: int, limit: int, backward: bool
    ) -> LogPage:
        head, stop, end = others
        if len(events) == limit:
            return LogPage(events, events[-1].position, head)
        if backward:
            return LogPage(events, min(head, 1) if stop <= end else stop, head)
        return LogPage(events, max(after, head if stop >= end else stop), head)

    def _refuse_gaps(self, events: list[StoredEvent], after: int, limit: int, head: int, backward: bool) -> None:
        """A page must be exactly the positions that it was asked for: whoever sees one has seen all before it."""
        if backward:
            first = there = min(after - 1, head) if after else head
            step = -1
        else:
            first, step, there = after + 1, 1, head - after
        count = max(min(limit, there), 0)
        if len(events) == count and (
            not events or (events[0].position == first and events[-1].position == first + step * (count - 1))
        ):
            return
        found = {event.position for event in events}
        missing = next((at for at in range(first, first + step * count, step) if at not in found), first)
        raise StoreCorrupt(
            f"{self._address.name}: position {missing} is missing from the log; it was damaged or written to by "
            "something else than Refold; restore it from a backup"
        )

    def _filtered(self, after: int, limit: int, where: EventFilter, backward: bool, parameters: _Parameters) -> str:
        at_least = parameters(wire.bigint(limit))
        if backward:
            bounds = self._bounds_backward(after, where, parameters)
        else:
            bounds = self._bounds_forward(after, where, parameters)
        order = "desc" if backward else ""
        tags = [item.tags[0] for item in where.matching if item.tags]
        by_tag = bool(tags) and len(tags) == len(where.matching)
        conditions = "".join(f" and {condition}" for condition in _conditions(where, parameters))
        if not by_tag:
            window = f"greatest(r.beyond - {_WINDOW}, r.ends)" if backward else f"least(r.beyond + {_WINDOW}, r.ends)"
            inside = (
                "e.position < b.beyond and e.position >= b.stop"
                if backward
                else "e.position > b.beyond and e.position <= b.stop"
            )
            return f"""
with b as materialized (select r.*, {window} as stop from ({bounds}) r)
select {COLUMNS}, b.head, b.stop, b.ends from b
left join lateral (
    select * from @schema@.events e where {inside}{conditions} order by e.position {order} limit {at_least}
) e on true"""
        # Where nothing but one tag is asked for, whatever has it is wanted: no others need to be looked at.
        only_tags = not where.categories and all(len(item.tags) == 1 and not item.types for item in where.matching)
        cap = limit if only_tags else max(limit, _CANDIDATES)
        first_tags = parameters(wire.texts(list(dict.fromkeys(tags))))
        inside = (
            "t.position < b.beyond and t.position >= b.ends"
            if backward
            else "t.position > b.beyond and t.position <= b.ends"
        )
        edge = "min" if backward else "max"
        return f"""
with b as materialized ({bounds}),
c as materialized (
    select distinct t.position from b, unnest({first_tags}) as f (tag), lateral (
        select t.position from @schema@.event_tags t
        where t.tag = f.tag and {inside} order by t.position {order} limit {cap}
    ) t order by t.position {order} limit {cap}
),
s as materialized (
    select case when count(*) = {cap} then {edge}(c.position) else (select b.ends from b) end as stop from c
)
select {COLUMNS}, b.head, s.stop, b.ends from b cross join s
left join lateral (
    select e.* from c join @schema@.events e on e.position = c.position where true{conditions}
    order by e.position {order} limit {at_least}
) e on true"""

    @staticmethod
    def _bounds_forward(after: int, where: EventFilter, parameters: _Parameters) -> str:
        """The head; beyond which position to look, and at which one (included) nothing more can match."""
        beyond = parameters(wire.bigint(after))
        ends = "h.head"
        if where.recorded_from is not None:
            beyond = f"greatest({beyond}, @schema@.position_at({parameters(wire.bigint(where.recorded_from - 1))}))"
        if where.recorded_until is not None:
            ends = f"@schema@.position_at({parameters(wire.bigint(where.recorded_until - 1))})"
        return f"select h.head, {beyond} as beyond, {ends} as ends from ({HEAD}) h"

    @staticmethod
    def _bounds_backward(after: int, where: EventFilter, parameters: _Parameters) -> str:
        beyond = parameters(wire.bigint(after)) if after else "h.head + 1"
        ends = "1::bigint"
        if where.recorded_until is not None:
            beyond = f"least({beyond}, @schema@.position_at({parameters(wire.bigint(where.recorded_until - 1))}) + 1)"
        if where.recorded_from is not None:
            ends = f"@schema@.position_at({parameters(wire.bigint(where.recorded_from - 1))}) + 1"
        return f"select h.head, least({beyond}, h.head + 1) as beyond, {ends} as ends from ({HEAD}) h"


def _conditions(where: EventFilter, parameters: _Parameters) -> list[str]:
    conditions = []
    if where.matching:
        alternatives = []
        for item in where.matching:
            both = []
            if item.types:
                both.append(f"e.type = any ({parameters(wire.texts(item.types))})")
            if item.tags:
                both.append(f"e.tags @> {parameters(wire.texts(item.tags))}")
            alternatives.append(f"({' and '.join(both) or 'true'})")
        conditions.append(f"({' or '.join(alternatives)})")
    if where.categories:
        conditions.append(f"split_part(e.stream, '-', 1) = any ({parameters(wire.texts(where.categories))})")
    return conditions
