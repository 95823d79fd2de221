"""A batch of appends as the parameters of the server's function `append`, and its answer as a verdict on each."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
from psycopg import pq

from refold.errors import ConditionFailed, Conflict
from refold.messages.recorded import StoredEvent
from refold.store.append import Append, AppendCondition, AppendResult, expected_in_words
from refold.store.postgres import wire
from refold.store.postgres.address import Address
from refold.store.postgres.wire import Parameter

__all__ = ["REPEATED", "AppendStatements", "Batch", "Repeated", "Verdict", "stored_events"]


class Repeated:
    """The log has an append with this id already; its result is still to be read."""


REPEATED = Repeated()
Verdict = AppendResult | Conflict | Repeated

_NOT_FIRST = -3
"""Expected version of an event that is not its append's first of its stream: there is nothing to check."""
_ONE_BY_ONE = 3
"""Up to so many events it is quicker to decide one after the other than to set up the arrays for all together."""
_TOGETHER, _EACH = 0, 1
_ACCEPTED, _CONFLICT, _CONDITION_FAILED = 0, 1, 2


class AppendStatements:
    """The two statements that append, for one log."""

    def __init__(self, address: Address) -> None:
        self.one = address.of("select @schema@.append_one($1, $2, $3, $4, $5, $6, $7, $8)").encode()
        places = ", ".join(f"${number}" for number in range(1, 18))
        self.many = address.of(f"select @schema@.append({places})").encode()


class Batch:
    """Appends that go to the server in one call."""

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends = appends
        self._streams: dict[str, int] = {}
        self._floors: list[int] = []
        self._lengths: list[int] = []

    def statement(self, statements: AppendStatements) -> tuple[bytes, list[Parameter]]:
        """The statement that appends them all, with its parameters."""
        if len(self.appends) == 1:
            append = self.appends[0]
            part = append.streams[0]
            event = part.events[0]
            plain = append.condition is None and append.rests_on is None and not event.tags
            if plain and len(append.streams) == 1 and len(part.events) == 1:
                self._streams[part.stream] = 1
                return statements.one, [
                    wire.text(part.stream),
                    wire.bigint(part.expected),
                    wire.uuid(append.id.bytes),
                    wire.smallint(event.schema_version),
                    wire.text(event.type),
                    wire.varchar(event.payload),
                    wire.varchar(event.metadata),
                    wire.bigint(event.occurred_at),
                ]
        return statements.many, self._arrays()

    def _arrays(self) -> list[Parameter]:
        of_append: list[int] = []
        of_stream: list[int] = []
        expected: list[int] = []
        ahead: list[int] = []
        indexes: list[int] = []
        versions: list[int] = []
        types: list[str] = []
        payloads: list[bytes] = []
        metadatas: list[bytes] = []
        occurred: list[int | None] = []
        tagged: list[str | None] = []
        streams, floors, lengths = self._streams, self._floors, self._lengths
        conditional = False
        together = True
        bases: list[bytes | None] = []
        before: set[UUID] = set()
        for append_number, append in enumerate(self.appends, start=1):
            index = 0
            conditional = conditional or append.condition is not None
            bases.append(None if append.rests_on is None else append.rests_on.bytes)
            for part in append.streams:
                stream_number = streams.get(part.stream)
                check = part.expected
                if stream_number is None:
                    stream_number = streams[part.stream] = len(streams) + 1
                    floors.append(max(check, 0))
                    lengths.append(0)
                length = lengths[stream_number - 1]
                # Deciding all together, the server looks only at what stood in the log before.
                if length and append.rests_on is not None and append.rests_on not in before:
                    together = False
                for event in part.events:
                    of_append.append(append_number)
                    of_stream.append(stream_number)
                    expected.append(check)
                    check = _NOT_FIRST
                    ahead.append(length)
                    length += 1
                    indexes.append(index)
                    index += 1
                    versions.append(event.schema_version)
                    types.append(event.type)
                    payloads.append(event.payload)
                    metadatas.append(event.metadata)
                    occurred.append(event.occurred_at)
                    tagged.append(_array(event.tags) if event.tags else None)
                lengths[stream_number - 1] = length
            before.add(append.id)
        ids = [append.id.bytes for append in self.appends]
        return [
            wire.texts(list(streams)),
            wire.bigints(floors),
            wire.uuids(ids),
            wire.documents_or_null([_document(append.condition) for append in self.appends])
            if conditional
            else wire.documents_or_null([]),
            wire.uuids_or_null(bases),
            wire.integers(of_append),
            wire.integers(of_stream),
            wire.bigints(expected),
            wire.integers(ahead),
            wire.integers(indexes),
            wire.smallints(versions),
            wire.texts(types),
            wire.varchars(payloads),
            wire.varchars(metadatas),
            wire.bigints(occurred),
            wire.texts_or_null(tagged),
            # An id that is given twice can only be seen once its first append is in the log.
            wire.boolean(together and len(of_append) > _ONE_BY_ONE and len(before) == len(ids)),
        ]

    def verdicts(self, result: pq.abc.PGresult) -> list[Verdict]:
        """The server's verdict on each append, in order."""
        value = result.get_value(0, 0)
        assert value is not None
        answer = wire.read_bigints(value)
        if answer[0] == _TOGETHER:
            return self._all_accepted(answer[1], answer[2], answer[3:])
        return self._each(answer)

    def _all_accepted(self, head: int, recorded_at: int, versions: list[int]) -> list[Verdict]:
        streams = self._streams
        verdicts: list[Verdict] = []
        for append in self.appends:
            first = head + 1
            after: dict[str, int] = {}
            for part in append.streams:
                number = streams[part.stream] - 1
                count = len(part.events)
                head += count
                after[part.stream] = versions[number] = versions[number] + count
            verdicts.append(AppendResult(append.id, first, head, after, recorded_at))
        return verdicts

    def _each(self, answer: list[int]) -> list[Verdict]:
        recorded_at = answer[1]
        at = 2
        verdicts: list[Verdict] = []
        for append in self.appends:
            kind = answer[at]
            if kind == _ACCEPTED:
                first = answer[at + 1]
                at += 2
                versions = {part.stream: answer[at + number] for number, part in enumerate(append.streams)}
                at += len(append.streams)
                verdicts.append(AppendResult(append.id, first, first + append.size - 1, versions, recorded_at))
            elif kind == _CONFLICT:
                part = append.streams[answer[at + 1] - 1]
                verdicts.append(Conflict(part.stream, expected_in_words(part.expected), answer[at + 2]))
                at += 3
            elif kind == _CONDITION_FAILED:
                assert append.condition is not None
                verdicts.append(ConditionFailed(append.condition.after, answer[at + 1]))
                at += 2
            else:
                verdicts.append(REPEATED)
                at += 1
        return verdicts


def _document(condition: AppendCondition | None) -> bytes | None:
    return None if condition is None else msgspec.json.encode(condition)


def _array(tags: Sequence[str]) -> str:
    quoted = [tag.replace("\\", "\\\\").replace('"', '\\"') for tag in tags]
    return '{"' + '","'.join(quoted) + '"}'


def stored_events(append: Append, result: AppendResult) -> list[StoredEvent]:
    """The events of an accepted append as the log has them now."""
    events = []
    index = 0
    for part in append.streams:
        version = result.versions[part.stream] - len(part.events)
        for event in part.events:
            version += 1
            events.append(
                StoredEvent(
                    result.first + index,
                    part.stream,
                    version,
                    event.type,
                    event.schema_version,
                    event.payload,
                    event.metadata,
                    result.recorded_at,
                    event.occurred_at,
                    append.id.bytes,
                    index,
                    event.tags,
                )
            )
            index += 1
    return events
