"""Committing a batch of appends: one transaction, one flush, a result for each append."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec

from refold import faults
from refold.errors import AlreadyAppended, ConditionFailed, Conflict, OutcomeUnknown, RefoldError, StoreError
from refold.messages.recorded import StoredEvent
from refold.store.append import ANY, EXISTS, Append, AppendCondition, AppendResult, expected_in_words
from refold.store.group_commit import Outcome
from refold.store.sqlite.problems import concerns_everything, in_words, is_flush
from refold.store.sqlite.rows import tags_text

__all__ = [
    "INSERT",
    "INSERT_TAG",
    "Inline",
    "append_all",
    "commit_batch",
    "find_append",
    "matching_sql",
    "overwritten",
    "transaction",
    "unflushed",
]

Inline = Callable[[sqlite3.Connection, list[StoredEvent]], None]
"""Changes inline read models in the appending transaction."""

INSERT = (
    "insert into events (position, stream, version, type, schema_version, payload, metadata, recorded_at, occurred_at, "
    "append_id, append_index, tags) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_TAG = "insert or ignore into event_tags (tag, position) values (?, ?)"
_FIND_APPEND = "select position, recorded_at from events where append_id = ? and append_index = 0"
_VERSIONS = (
    "select s.value, coalesce((select max(e.version) from events e where e.stream = s.value), 0) from json_each(?) s"
)
_HEAD = "select position, recorded_at from events order by position desc limit 1"
_LAST_OF_STREAM = "select append_id from events where stream = ? and version = ?"


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Takes the write lock at once, commits at the end, and rolls back on any error."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        # SQLite may have rolled back by itself (a full disk); to ask again would hide the reason.
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def overwritten(connection: sqlite3.Connection) -> bool:
    """Whether what could not be flushed is gone for good. It stands in the write-ahead log, whole, until a later commit
    is written in its place: whoever opens the file after a kill would find it there. So such a commit is made.
    """
    try:
        if connection.in_transaction:
            connection.execute("rollback")
        version: int = connection.execute("pragma user_version").fetchone()[0]
        with transaction(connection):
            connection.execute(f"pragma user_version = {version}")
    except sqlite3.Error:
        return False
    return True


class _Batch:
    """The state of the log as the appends of one transaction see it, each after the ones before it.

    `trusting`: that an append fits is taken as a sign that its id is new, which the index of ids makes sure of when the
    rows are written; only one that does not fit is looked up, as it may have been stored before.
    """

    def __init__(self, connection: sqlite3.Connection, appends: Sequence[Append], *, trusting: bool) -> None:
        self._connection = connection
        self._trusting = trusting
        head = connection.execute(_HEAD).fetchone()
        self.head: int = head[0] if head else 0
        self.recorded_at = max(time.time_ns() // 1000, head[1] if head else 0)
        self._versions = _versions_of(connection, {part.stream for append in appends for part in append.streams})
        self._rows: list[tuple[Any, ...]] = []
        self._tags: list[tuple[str, int]] = []
        self._results: dict[UUID, AppendResult] = {}
        self._last_of_stream: dict[str, bytes] = {}
        self.accepted: list[StoredEvent] = []

    def append(self, append: Append, *, keep_events: bool) -> AppendResult:
        """Judges one append and stages its rows. Raises `Conflict`, `ConditionFailed`."""
        if append.id in self._results or not self._trusting:
            first = self._first_result(append)
            if first is not None:
                return first
        try:
            self._check(append)
        except Conflict:
            first = self._first_result(append) if self._trusting else None
            if first is not None:
                return first
            raise
        result = self._stage(append, keep_events)
        self._results[append.id] = result
        return result

    def _first_result(self, append: Append) -> AppendResult | None:
        first = self._results.get(append.id) or find_append(self._connection, append.id.bytes)
        return None if first is None else msgspec.structs.replace(first, repeated=True)

    def _check(self, append: Append) -> None:
        for part in append.streams:
            actual = self._versions[part.stream]
            if part.expected != actual and part.expected != ANY and not (part.expected == EXISTS and actual):
                raise Conflict(part.stream, expected_in_words(part.expected), actual)
            if append.rests_on is not None and self._last_append(part.stream, actual) != append.rests_on.bytes:
                raise Conflict(part.stream, expected_in_words(part.expected), actual)
        if append.condition is not None:
            self.flush()
            found = _first_match(self._connection, append.condition)
            if found is not None:
                raise ConditionFailed(append.condition.after, found)

    def _last_append(self, stream: str, version: int) -> bytes | None:
        staged = self._last_of_stream.get(stream)
        if staged is not None:
            return staged
        row = self._connection.execute(_LAST_OF_STREAM, (stream, version)).fetchone()
        return row[0] if row else None

    def _stage(self, append: Append, keep_events: bool) -> AppendResult:
        start = self.head + 1
        index = 0
        position = self.head
        id_bytes = append.id.bytes
        versions: dict[str, int] = {}
        for part in append.streams:
            stream = part.stream
            version = self._versions[stream]
            for event in part.events:
                position += 1
                version += 1
                self._rows.append(
                    (
                        position,
                        stream,
                        version,
                        event.type,
                        event.schema_version,
                        event.payload.decode(),
                        event.metadata.decode(),
                        self.recorded_at,
                        event.occurred_at,
                        id_bytes,
                        index,
                        tags_text(event.tags) if event.tags else None,
                    )
                )
                if event.tags:
                    self._tags += [(tag, position) for tag in event.tags]
                if keep_events:
                    self.accepted.append(
                        StoredEvent(
                            position,
                            stream,
                            version,
                            event.type,
                            event.schema_version,
                            event.payload,
                            event.metadata,
                            self.recorded_at,
                            event.occurred_at,
                            id_bytes,
                            index,
                            event.tags,
                        )
                    )
                index += 1
            versions[stream] = self._versions[stream] = version
            self._last_of_stream[stream] = id_bytes
        self.head = position
        return AppendResult(append.id, start, position, versions, self.recorded_at)

    def flush(self) -> None:
        """Writes what is staged."""
        if self._rows:
            self._connection.executemany(INSERT, self._rows)
            self._rows.clear()
        if self._tags:
            self._connection.executemany(INSERT_TAG, self._tags)
            self._tags.clear()


def _versions_of(connection: sqlite3.Connection, streams: Collection[str]) -> dict[str, int]:
    return dict(connection.execute(_VERSIONS, (msgspec.json.encode(list(streams)).decode(),)).fetchall())


def append_all(connection: sqlite3.Connection, appends: Sequence[Append], inline: Inline | None) -> list[AppendResult]:
    """Appends inside a transaction that is open. Raises for the first append that does not fit, or was done before."""
    batch = _Batch(connection, appends, trusting=False)
    results: list[AppendResult] = []
    for append in appends:
        result = batch.append(append, keep_events=inline is not None)
        if result.repeated:
            raise AlreadyAppended(append.id)
        results.append(result)
    batch.flush()
    if inline is not None and batch.accepted:
        inline(connection, batch.accepted)
    return results


def commit_batch(
    connection: sqlite3.Connection, appends: Sequence[Append], inline: Inline | None, where: str
) -> list[Outcome]:
    """One transaction for the whole batch. When the database or an inline read model fails on it, each append is tried
    alone.
    """
    try:
        return _commit_together(connection, appends, inline)
    except sqlite3.Error as problem:
        if len(appends) == 1:
            return [_failed(connection, appends[0], problem, where)]
        if concerns_everything(problem):
            return [in_words(problem, where)] * len(appends)
        if is_flush(problem) and not overwritten(connection):
            return [unflushed(append, problem, where) for append in appends]
    except RefoldError as problem:
        if len(appends) == 1:
            return [problem]
    except Exception as problem:  # noqa: BLE001  # whatever an inline read model raises, its append is answered
        if len(appends) == 1:
            return [_failed(connection, appends[0], problem, where)]
    return [outcome for append in appends for outcome in commit_batch(connection, [append], inline, where)]


def unflushed(append: Append, problem: sqlite3.Error, where: str) -> OutcomeUnknown:
    """The outcome of an append that the disk has neither flushed nor let be overwritten."""
    return OutcomeUnknown(append.id, f"{where}: the disk did not take what was committed: {problem}")


def _failed(connection: sqlite3.Connection, append: Append, problem: Exception, where: str) -> Outcome:
    """The outcome of an append whose commit raised something. Once the commit was done it is stored all the same."""
    if isinstance(problem, sqlite3.Error):
        if is_flush(problem) and not overwritten(connection):
            return unflushed(append, problem, where)
        return in_words(problem, where)
    stored = find_append(connection, append.id.bytes)
    if stored is not None:
        return stored
    failed = StoreError(f"{where}: the append was rolled back, nothing was stored: {problem!r}")
    failed.__cause__ = problem
    return failed


def _commit_together(connection: sqlite3.Connection, appends: Sequence[Append], inline: Inline | None) -> list[Outcome]:
    try:
        return _commit_once(connection, appends, inline, trusting=True)
    except sqlite3.IntegrityError:
        # An append that the log has already: look each of them up. (Or a constraint of an inline read model's.)
        return _commit_once(connection, appends, inline, trusting=False)


def _commit_once(
    connection: sqlite3.Connection, appends: Sequence[Append], inline: Inline | None, *, trusting: bool
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    faults.at("sqlite.append.begin")
    with transaction(connection):
        batch = _Batch(connection, appends, trusting=trusting)
        for append in appends:
            try:
                outcomes.append(batch.append(append, keep_events=inline is not None))
            except Conflict as conflict:
                outcomes.append(conflict)
        batch.flush()
        faults.at("sqlite.append.inserted")
        if inline is not None and batch.accepted:
            inline(connection, batch.accepted)
        faults.at("sqlite.append.before_commit")
    faults.at("sqlite.append.committed")
    return outcomes


def find_append(connection: sqlite3.Connection, append_id: bytes) -> AppendResult | None:
    """The result of an earlier append with this id."""
    first = connection.execute(_FIND_APPEND, (append_id,)).fetchone()
    if first is None:
        return None
    # An append's positions follow one another, so that the next append's first event ends it.
    rows = connection.execute(
        "select position, stream, version from events where position >= ? and position < coalesce("
        "(select position from events where position > ? and append_id <> ? order by position limit 1), "
        "? + 1000000000) order by position",
        (first[0], first[0], append_id, first[0]),
    ).fetchall()
    versions = {stream: version for _, stream, version in rows}
    return AppendResult(UUID(bytes=append_id), first[0], rows[-1][0], versions, first[1])


def _first_match(connection: sqlite3.Connection, condition: AppendCondition) -> int | None:
    earliest: int | None = None
    for item in condition.matching:
        sql, parameters = matching_sql(item.types, item.tags, condition.after)
        if earliest is not None:
            sql += " and e.position < ?"
            parameters.append(earliest)
        row = connection.execute(f"select e.position from {sql} order by e.position limit 1", parameters).fetchone()
        if row is not None:
            earliest = int(row[0])
    return earliest


def matching_sql(types: Sequence[str], tags: Sequence[str], after: int) -> tuple[str, list[Any]]:
    """`from` and `where` for the events after a position that match types and tags; driven by the first tag's index, if
    any.
    """
    parameters: list[Any] = []
    if tags:
        source = "event_tags t cross join events e on e.position = t.position where t.tag = ? and t.position > ?"
        parameters += [tags[0], after]
        for tag in tags[1:]:
            source += " and exists (select 1 from event_tags o where o.tag = ? and o.position = t.position)"
            parameters.append(tag)
    else:
        source = "events e where e.position > ?"
        parameters.append(after)
    if types:
        source += f" and e.type in ({', '.join('?' * len(types))})"
        parameters += types
    return source, parameters
