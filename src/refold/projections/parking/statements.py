"""The statements on what is kept of failing projections, the same for every SQL database but for names and clock.

`{parked}` and the like are the tables, `{now}` is the database's clock in microseconds, parameters are $1, $2 ….
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from refold.projections.parking.records import (
    Attempt,
    Begin,
    Change,
    Dropped,
    Forget,
    Logged,
    Operation,
    Park,
    ParkedKey,
    Pause,
    Renamed,
    Request,
    Resume,
    Skip,
    Unpark,
)

__all__ = [
    "ATTEMPTS",
    "NOTE",
    "OPERATIONS",
    "ORDERS",
    "PARKED",
    "PAUSES",
    "SKIPPED",
    "TABLES",
    "attempt_of",
    "operation_of",
    "parked_of",
    "pause_of",
    "statements_of",
]

Parameters = tuple[str | int, ...]

TABLES = ("parked", "skipped", "attempts", "pauses", "operations")

_KEY_FIELDS = ", ".join(ParkedKey.__struct_fields__)
_ATTEMPT_FIELDS = ", ".join(Attempt.__struct_fields__)
_OPERATION_FIELDS = "actor, operation, target, reason, request, details, number, at"

PARKED = f"select {_KEY_FIELDS} from {{parked}} where $1 in ('', name) order by position, name, key"
SKIPPED = "select key, position from {skipped} where read_model = $1 and fingerprint = $2"
ATTEMPTS = f"select {_ATTEMPT_FIELDS} from {{attempts}} where $1 in ('', name) order by name"
NOTE = (
    f"insert into {{attempts}} ({_ATTEMPT_FIELDS}) select $1, $2, $3, $4, $5, $6, {{now}} + $7 "
    "where exists (select 1 from {checkpoints} where name = $1 and epoch = $8) "
    "on conflict (name) do update set first = excluded.first, last = excluded.last, begun = excluded.begun, "
    "failed = excluded.failed, error = excluded.error, next_at = excluded.next_at returning 1"
)
PAUSES = "select name, actor, reason, since from {pauses} order by name"
ORDERS = (
    "select 'paused', name from {pauses} union all select distinct 'requested', name from {parked} where request <> ''"
)
OPERATIONS = (
    f"select {_OPERATION_FIELDS} from {{operations}} where ($1 = 0 or number < $1) and $3 in ('', request) "
    "order by number desc limit $2"
)
_SHARDS_OF_1 = "substr(name, 1, length(cast($1 as text)) + 1) = cast($1 as text) || ':'"
_RENAMED: Sequence[str] = (
    "delete from {parked} where name = $2 and name <> $1",
    "update {parked} set name = $2, request = '', request_id = '' where name = $1",
    "delete from {attempts} where name in ($1, $2)",
    f"delete from {{attempts}} where {_SHARDS_OF_1} or {_SHARDS_OF_1.replace('$1', '$2')}",
)
_DROPPED: Sequence[str] = (
    "delete from {parked} where name = $1",
    f"delete from {{attempts}} where name = $1 or {_SHARDS_OF_1}",
)

_PARK = (
    f"insert into {{parked}} ({_KEY_FIELDS}) values ($1, $2, $3, $4, $5, $6, $7, "
    "case when $8 = 0 then {now} else $8 end, $9, $10, $11, $12, $13, $14, $15) "
    "on conflict (name, key) do update set "
    + ", ".join(f"{field} = excluded.{field}" for field in ParkedKey.__struct_fields__[2:])
    + " returning 1"
)
_UNPARK = "delete from {parked} where name = $1 and key = $2 and request_id = $3 returning 1"
_REQUEST = (
    "update {parked} set request = $3, request_id = $4, requested_by = $5, reason = $6, begun = 0 "
    "where name = $1 and key = $2 and request = '' returning 1"
)
_SKIP = (
    "insert into {skipped} (read_model, key, position, fingerprint, actor, reason, at) "
    "values ($1, $2, $3, $4, $5, $6, {now}) on conflict do nothing"
)
_FORGET = "delete from {attempts} where name = $1"
_BEGIN = (
    "insert into {pauses} (name, actor, reason, since) values ($1, $2, $3, {now}) on conflict do nothing returning 1"
)
_RESUME = "delete from {pauses} where name = $1 returning 1"
_RECORDED = (
    "insert into {operations} (at, actor, operation, target, reason, request, details) "
    "values ({now}, $1, $2, $3, $4, $5, $6)"
)


def statements_of(change: Change) -> list[tuple[str, Parameters, bool]]:
    """The statements of a change, with their parameters, and whether one must give a row for the change to hold."""
    match change:
        case Renamed(name, new_name):
            return [(sql, (name, new_name), False) for sql in _RENAMED]
        case Dropped(name):
            return [(sql, (name,), False) for sql in _DROPPED]
        case _:
            return [_statement_of(change)]


def _statement_of(change: Change) -> tuple[str, Parameters, bool]:
    match change:
        case Park(parked):
            return _PARK, tuple(getattr(parked, field) for field in ParkedKey.__struct_fields__), True
        case Unpark(name, key, request_id):
            return _UNPARK, (name, key, request_id), True
        case Request(name, key, kind, request_id, actor, reason):
            return _REQUEST, (name, key, kind, request_id, actor, reason), True
        case Skip(read_model, key, position, fingerprint, actor, reason):
            return _SKIP, (read_model, key, position, fingerprint, actor, reason), False
        case Forget(name):
            return _FORGET, (name,), False
        case Begin(pause):
            return _BEGIN, (pause.name, pause.actor, pause.reason), True
        case Resume(name):
            return _RESUME, (name,), True
        case Logged(operation):
            details = msgspec.json.encode(operation.details).decode()
            o = operation
            return _RECORDED, (o.actor, o.operation, o.target, o.reason, o.request, details), False
        case _:
            raise AssertionError(change)


def parked_of(row: Sequence[Any]) -> ParkedKey:
    """A parked key from its row."""
    return ParkedKey(**dict(zip(ParkedKey.__struct_fields__, row, strict=True)))


def attempt_of(row: Sequence[Any]) -> Attempt:
    """An attempt from its row."""
    return Attempt(**dict(zip(Attempt.__struct_fields__, row, strict=True)))


def pause_of(row: Sequence[Any]) -> Pause:
    """A pause from its row."""
    name, actor, reason, since = row
    return Pause(name=name, actor=actor, reason=reason, since=since)


def operation_of(row: Sequence[Any]) -> Operation:
    """An operation from its row."""
    actor, operation, target, reason, request, details, number, at = row
    return Operation(
        actor=actor,
        operation=operation,
        target=target,
        reason=reason,
        request=request,
        details=msgspec.json.decode(details),
        number=number,
        at=at,
    )
