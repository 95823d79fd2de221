"""Snapshots, in a table of their own; it may be emptied at any time."""

from __future__ import annotations

from refold.store.event_store import Snapshot
from refold.store.postgres import wire
from refold.store.postgres.address import Address
from refold.store.postgres.pool import SessionPool
from refold.store.postgres.rows import Rows

__all__ = ["Snapshots"]

_SAVE = """
insert into @schema@.snapshots as s (stream, version, position, append_id, fingerprint, data)
values ($1, $2, $3, $4, $5, $6)
on conflict (stream) do update set version = excluded.version, position = excluded.position,
    append_id = excluded.append_id, fingerprint = excluded.fingerprint, data = excluded.data, saved_at = now()
where s.fingerprint <> excluded.fingerprint or s.version < excluded.version"""
_SELECT = "select stream, version, position, append_id, fingerprint, data from @schema@.snapshots"
_LOAD = f"{_SELECT} where stream = $1"
_PAGE = f"{_SELECT} where stream > $1 order by stream limit $2"
_DROP = "delete from @schema@.snapshots where stream = $1"


class Snapshots:
    """The snapshots of one log."""

    def __init__(self, address: Address, pool: SessionPool) -> None:
        self._pool = pool
        self._rows = Rows()
        self._save, self._load, self._page, self._drop = (
            address.of(sql).encode() for sql in (_SAVE, _LOAD, _PAGE, _DROP)
        )

    async def save(self, snapshot: Snapshot) -> None:
        """Keeps it, unless a newer one of the same fingerprint is there."""
        await self._pool.query(
            self._save,
            (
                wire.text(snapshot.stream),
                wire.integer(snapshot.version),
                wire.bigint(snapshot.position),
                wire.uuid(snapshot.append_id),
                wire.text(snapshot.fingerprint),
                wire.bytea(snapshot.data),
            ),
        )

    async def load(self, stream: str) -> Snapshot | None:
        """The stream's snapshot, if there is one."""
        rows = self._rows.of(await self._pool.query(self._load, (wire.text(stream),)))
        return Snapshot(*rows[0]) if rows else None

    async def page(self, after: str, limit: int) -> list[Snapshot]:
        """Snapshots in order of their streams' ids, those after `after`."""
        rows = self._rows.of(await self._pool.query(self._page, (wire.text(after), wire.bigint(limit))))
        return [Snapshot(*row) for row in rows]

    async def drop(self, stream: str) -> None:
        """Forgets the stream's snapshot."""
        await self._pool.query(self._drop, (wire.text(stream),))
