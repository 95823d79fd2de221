"""What events change in a state: field by field, between two versions, or event by event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from refold.app import App
from refold.commands.loading import Until
from refold.folds.engine import AggregateFold
from refold.messages.recorded import StoredEvent, category_of
from refold.operations.known_states import KnownStates
from refold.store.event_store import EventStore

__all__ = ["Change", "changes_between", "changes_of"]

_PAGE = 500
_ABSENT = object()


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field (a path, as in `address.city` or `lines.3.amount`) before and after. What was not there is left out."""

    field: str
    before: Any = msgspec.UNSET
    after: Any = msgspec.UNSET


def changes_between(before: Any, after: Any) -> list[Change]:
    """The fields that differ between two states, in the order of their names' places."""
    found: list[Change] = []
    _compare("", _plain(before), _plain(after), found)
    return found


async def changes_of(
    store: EventStore,
    app: App,
    stream: str,
    *,
    after: int = 0,
    limit: int = 100,
    field: str = "",
    seconds: float | None = None,
    known: KnownStates | None = None,
) -> tuple[list[tuple[StoredEvent, list[Change]]], int | None]:
    """The events of a stream after a version, each with what it changed in the state of its aggregate, so many at most;
    and the version to go on after, None when these were the last. With `field`, only those that changed it or what is
    in it.

    The events before are folded too; with `known` from a state on that was folded before. With `seconds` it gives what
    it has found by then, once it is beyond `after`. Raises `ConfigurationError` for a stream of no aggregate,
    `UnknownEvent`, `DecodeError`, `FoldFailed`.
    """
    definition = app.aggregates[app.aggregate_of(category_of(stream))]
    fold = AggregateFold[Any](definition, app.types)
    state: Any = definition.cls()
    version = 0
    begun = None if known is None else await known.before(store, definition, stream, Until(version=after))
    if begun is not None:
        state, version = begun[0], begun[1].version
    before = _plain(state)
    found: list[tuple[StoredEvent, list[Change]]] = []
    deadline = None if seconds is None else time.monotonic() + seconds
    while page := await store.read_stream(stream, after=version, limit=_PAGE):
        for stored in page:
            if len(found) == limit:
                return found, version
            state = fold.fold(state, [stored])
            version = stored.version
            if version < after:
                continue
            now = _plain(state)
            if version > after:
                changes: list[Change] = []
                _compare("", before, now, changes)
                if not field or any(_touches(change, field) for change in changes):
                    found.append((stored, changes))
            before = now
        if known is not None:
            known.keep(definition, stream, page[-1], state)
        if deadline is not None and version > after and time.monotonic() > deadline:
            return found, version if len(page) == _PAGE else None
    return found, None


def _touches(change: Change, field: str) -> bool:
    path = change.field
    if path == field or path.startswith(f"{field}."):
        return True
    if not field.startswith(f"{path}."):
        return False
    # What it is in came or went as a whole.
    inside = field.removeprefix(f"{path}.")
    return bool(_found_at(change.before, inside) != _found_at(change.after, inside))


def _found_at(value: Any, path: str) -> Any:
    if isinstance(value, list):
        value = {str(place): each for place, each in enumerate(value)}
    if not isinstance(value, Mapping):
        return _ABSENT
    for name, each in value.items():
        # A key of a dict may have dots in it.
        if path == str(name):
            return each
        if path.startswith(f"{name}."):
            return _found_at(each, path.removeprefix(f"{name}."))
    return _ABSENT


def _plain(state: Any) -> Any:
    """A state as JSON says it, so that what is compared is what is shown."""
    return msgspec.to_builtins(state, enc_hook=str)


def _compare(path: str, before: Any, after: Any, found: list[Change]) -> None:
    if before == after and type(before) is type(after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            _compare(_below(path, name), before.get(name, _ABSENT), after.get(name, _ABSENT), found)
    elif isinstance(before, list) and isinstance(after, list):
        for place in range(max(len(before), len(after))):
            one = before[place] if place < len(before) else _ABSENT
            other = after[place] if place < len(after) else _ABSENT
            _compare(_below(path, place), one, other, found)
    else:
        found.append(
            Change(
                path,
                msgspec.UNSET if before is _ABSENT else before,
                msgspec.UNSET if after is _ABSENT else after,
            )
        )


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
