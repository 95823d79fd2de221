"""Looking for what is wrong inside the schema: missing guards, an index of tags that does not fit."""

from __future__ import annotations

from refold.store.integrity import Flaw, Flaws
from refold.store.postgres.address import Address
from refold.store.postgres.pool import SessionPool
from refold.store.postgres.rows import Rows
from refold.store.postgres.wire import text

__all__ = ["flaws_of"]

_TABLES = ("events", "event_tags", "operations")
_ALWAYS = "A"
_GUARDS = """
select c.relname::text, t.tgenabled::text from pg_trigger t join pg_class c on c.oid = t.tgrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and t.tgname = c.relname || '_are_immutable'"""
_NOT_INDEXED = """
select e.position, t.tag from @schema@.events e, unnest(e.tags) as t (tag)
where e.tags is not null and not exists (
    select from @schema@.event_tags i where i.tag = t.tag and i.position = e.position and i.type = e.type
)
order by e.position limit 20"""
_NOT_CARRIED = """
select t.position, t.tag from @schema@.event_tags t
where not exists (
    select from @schema@.events e where e.position = t.position and t.tag = any (e.tags) and t.type = e.type
)
order by t.position limit 20"""


async def flaws_of(pool: SessionPool, address: Address) -> Flaws:
    """What is wrong inside the schema; the first of each kind."""
    rows = Rows()
    states = dict(rows.of(await pool.query(_GUARDS.encode(), (text(address.schema),))))
    guards = [
        Flaw(f"trigger {table}_are_immutable", f"it {_state(states.get(table))}: {table} could be changed")
        for table in _TABLES
        if states.get(table) != _ALWAYS
    ]
    tags = [
        Flaw(f"position {position}", f"its tag {tag!r} is not in the index of tags")
        for position, tag in rows.of(await pool.query(address.of(_NOT_INDEXED).encode()))
    ]
    tags += [
        Flaw(f"position {position}", f"the index of tags has {tag!r} for it, which it does not carry")
        for position, tag in rows.of(await pool.query(address.of(_NOT_CARRIED).encode()))
    ]
    return {"guards": guards, "tags": tags}


def _state(enabled: str | None) -> str:
    return "is gone" if enabled is None else "is disabled" if enabled == "D" else "is not always enabled"
