"""Where everything stands: the log's head, and for each projection how far behind it is, and who moves it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from refold.app import App
from refold.folds.read_model import ReadModelDefinition
from refold.messages.recorded import from_microseconds
from refold.projections.checkpoint import AWAY, REFUSED, STOPPED, Checkpoint
from refold.projections.handwritten import HAND_WRITTEN
from refold.projections.parking.care import ATTEMPTS
from refold.projections.parking.records import Attempt, Pause
from refold.projections.projection import paused_in_words
from refold.projections.rebuild_orders import paused_rebuild_in_words
from refold.projections.routed import RoutedSink
from refold.projections.shards import WHOLE, shard_of
from refold.projections.sink import (
    Sink,
    building,
    lives_elsewhere,
    previous,
    read_model_of_table,
    rows_elsewhere,
)
from refold.store.event_store import EventStore

__all__ = ["STATES", "ProjectionStatus", "State", "Status", "document_of", "measured_status", "status_of"]

State = Literal[
    "running",
    "failing",
    "paused",
    "no worker",
    "stopped",
    "stalled",
    "definition changed",
    "other log",
    "refused",
    "away",
    "rebuilding",
    "abandoned",
    "previous",
    "inline",
    "unknown",
]
"""`failing`: an event failed, and is tried again. `paused`: by an operator. `no worker`: nobody moves it. `stalled`:
its owner does not, though there is something to do. `other log`: it is ahead of the log. `refused`: its store does not
let it in. `away`: its store cannot be reached. `abandoned`: its rebuild died. `previous`: what was read before, kept
for the way back. `unknown`: the app that is meant has none such.
"""

STATES: tuple[State, ...] = get_args(State)
_WRONG: frozenset[State] = frozenset({"stopped", "stalled", "definition changed", "other log", "refused", "away"})
_PATIENCE = 60.0
_MINUTE = 60_000_000


class ProjectionStatus(msgspec.Struct, frozen=True):
    """One projection, or one shard of it. `lag_seconds` is the age of the first event that it has not seen; `rate` is
    positions a second, where that was measured. `parked` is the number of rows of it that wait. A read model that has
    shards is there once for all of them, and each of them by itself. `seconds_left` is how long a rebuild will take, at
    its rate. Times are microseconds since 1970.
    """

    name: str
    state: State
    position: int
    lag: int
    lag_seconds: float
    rate: float | None
    owner: str
    error: str
    moved_at: int
    parked: int = 0
    seconds_left: float | None = None

    @property
    def wrong(self) -> bool:
        """Whether a person has to do something about it."""
        return self.state in _WRONG or self.parked > 0


class Status(msgspec.Struct, frozen=True):
    """The log and its projections at one moment. `rate` is events a second over the last minute."""

    store: str
    head: int
    recorded_at: int
    rate: float
    projections: list[ProjectionStatus]
    at: int

    @property
    def ok(self) -> bool:
        """Whether no projection is in a state that a person has to do something about."""
        return not any(projection.wrong for projection in self.projections)


async def status_of(
    store: EventStore, sink: Sink, app: App | None, *, before: Status | None = None, patience: float = _PATIENCE
) -> Status:
    """The status now. With an earlier one, each projection's rate since then is known. Reads only.

    Without an app it cannot be seen whether a definition has changed. One whose owner has not moved it for `patience`
    seconds, though an event has waited for as long, is stalled.
    """
    checkpoints = await sink.checkpoints()
    if app is not None:
        there = {checkpoint.name for checkpoint in checkpoints}
        new = [each for each in app.read_models.values() if each.name not in there]
        checkpoints += await asyncio.gather(*(_unenrolled(sink, each) for each in new))
        checkpoints += [
            Checkpoint(name=name, fingerprint=HAND_WRITTEN) for name in app.projections if name not in there
        ]
    # Read after the checkpoints, the head is never behind one of them, unless something is wrong.
    head = await store.head()
    trouble = await _trouble(sink)
    now = time.time_ns() // 1000
    minute_ago = await store.position_at(now - _MINUTE)
    earlier = {} if before is None else {each.name: each.position for each in before.projections}
    elapsed = 0.0 if before is None else (now - before.at) / 1_000_000
    projections = []
    for checkpoint in checkpoints:
        rate = None
        if elapsed > 0 and checkpoint.name in earlier:
            rate = max(0.0, (checkpoint.position - earlier[checkpoint.name]) / elapsed)
        projections.append(await _projection(store, checkpoint, app, head.position, now, rate, trouble, patience))
    projections = _with_their_shards(projections)
    return Status(
        store=store.name,
        head=head.position,
        recorded_at=head.recorded_at,
        rate=max(0, head.position - minute_ago) / 60,
        projections=sorted(projections, key=lambda each: each.name),
        at=now,
    )


async def _unenrolled(sink: Sink, definition: ReadModelDefinition) -> Checkpoint:
    """What is known of a read model that no process has registered yet."""
    if isinstance(sink, RoutedSink):
        return await sink.unenrolled(definition)
    return Checkpoint(name=definition.name, fingerprint=definition.fingerprint)


_WORST_FIRST: tuple[State, ...] = ("stopped", "other log", "definition changed", "stalled", "failing", "no worker")
_FEW = 3


def _with_their_shards(projections: list[ProjectionStatus]) -> list[ProjectionStatus]:
    """Each read model that is divided stands for its shards: as far behind as the last of them, and in the state of the
    worst.
    """
    parts: dict[str, list[ProjectionStatus]] = {}
    for each in projections:
        if shard_of(each.name) != WHOLE:
            parts.setdefault(each.name.partition(":")[0], []).append(each)
    return [_as_one(each, parts[each.name]) if each.name in parts else each for each in projections]


def _as_one(whole: ProjectionStatus, parts: list[ProjectionStatus]) -> ProjectionStatus:
    worst = next((each for state in _WORST_FIRST for each in parts if each.state == state), parts[0])
    owners = sorted({each.owner for each in parts if each.owner})
    rates = [each.rate for each in parts if each.rate is not None]
    return msgspec.structs.replace(
        whole,
        state=worst.state,
        position=min(each.position for each in parts),
        lag=max(each.lag for each in parts),
        lag_seconds=max(each.lag_seconds for each in parts),
        rate=min(rates) if rates else None,
        owner=owners[0] if len(owners) == 1 else f"{len(owners)} processes" if owners else "",
        error=f"{worst.name.partition(':')[2]}: {worst.error}" if worst.error else "",
        moved_at=min(each.moved_at for each in parts),
    )


class _Trouble(msgspec.Struct, frozen=True):
    """What is known of failures and pauses."""

    parked: Mapping[str, int]
    attempts: Mapping[str, Attempt]
    pauses: Mapping[str, Pause]


async def _trouble(sink: Sink) -> _Trouble:
    records = sink.records
    return _Trouble(
        parked=Counter(each.name for each in await records.parked()),
        attempts={each.name: each for each in await records.attempts()},
        pauses={each.name: each for each in await records.pauses()},
    )


async def _projection(
    store: EventStore,
    checkpoint: Checkpoint,
    app: App | None,
    head: int,
    now: int,
    rate: float | None,
    trouble: _Trouble,
    patience: float,
) -> ProjectionStatus:
    kept = checkpoint.name.partition(":")[0].endswith(previous(""))  # it stands still, and is not behind in anything
    lag = 0 if kept else max(0, head - checkpoint.position)
    lag_seconds = 0.0
    if lag:
        page = await store.read_log(after=checkpoint.position, limit=1)
        if page.events:
            lag_seconds = max(0.0, (now - page.events[0].recorded_at) / 1_000_000)
    owned = bool(checkpoint.owner) and checkpoint.lease_until > now
    state, error = _held_up(checkpoint, now, trouble, *_state(checkpoint, app, head, owned))
    if state in ("running", "no worker") and checkpoint.owner:
        stood = min(lag_seconds, (now - checkpoint.updated_at) / 1_000_000)
        if stood > patience:
            state, error = "stalled", _stalled(checkpoint, owned, stood)
    return ProjectionStatus(
        name=checkpoint.name,
        state=state,
        position=checkpoint.position,
        lag=lag,
        lag_seconds=lag_seconds,
        rate=rate,
        owner=checkpoint.owner if owned else "",
        error=error,
        moved_at=checkpoint.updated_at,
        parked=0 if kept else trouble.parked.get(checkpoint.name, 0),
        seconds_left=lag / rate if rate and state == "rebuilding" else None,
    )


def _held_up(checkpoint: Checkpoint, now: int, trouble: _Trouble, state: State, error: str) -> tuple[State, str]:
    """The state, with what is known of failures and pauses."""
    if state in ("rebuilding", "abandoned"):
        stands = trouble.pauses.get(checkpoint.name)
        return (state, error) if stands is None else ("paused", paused_rebuild_in_words(stands))
    pause = trouble.pauses.get(read_model_of_table(checkpoint.name))
    attempt = trouble.attempts.get(checkpoint.name)
    if pause is not None and state in ("running", "no worker"):
        return "paused", paused_in_words(pause)
    if state == "running" and attempt is not None and attempt.failed and attempt.first > checkpoint.position:
        seconds = (attempt.next_at - now) / 1_000_000
        when = f"next try in {seconds:.0f} s" if seconds > 0.5 else "trying"
        return "failing", f"attempt {attempt.failed} of {ATTEMPTS}, {when}: {attempt.error}"
    return state, error


def _state(checkpoint: Checkpoint, app: App | None, head: int, owned: bool) -> tuple[State, str]:
    name = checkpoint.name
    definitions = {} if app is None else {each.name: each for each in app.read_models.values()}
    table = name.partition(":")[0]
    if table.endswith(building("")):
        if owned:
            return "rebuilding", checkpoint.error
        whose = name.removesuffix(building(""))
        return "abandoned", f"its rebuild was killed, and {whose} is as it was; run `refold rebuild {whose}` again"
    if table.endswith(previous("")):
        return "previous", ""
    name = table
    definition = definitions.get(name)
    if checkpoint.position > head:
        return "other log", f"it is ahead of the log; run `refold verify`, and then `refold rebuild {name}`"
    if definition is not None and lives_elsewhere(checkpoint):
        return "definition changed", rows_elsewhere(checkpoint)
    if definition is not None and definition.fingerprint != checkpoint.fingerprint:
        return "definition changed", f"its rows were written by another definition; run `refold rebuild {name}`"
    if checkpoint.status == REFUSED:
        return "refused", checkpoint.error
    if checkpoint.status == AWAY:
        return "away", checkpoint.error
    if checkpoint.status == STOPPED:
        return "stopped", checkpoint.error
    if definition is not None and definition.inline:
        return "inline", ""
    if owned:
        return "running", checkpoint.error
    if app is not None and definition is None and name not in app.projections:
        return "unknown", ""
    return "no worker", checkpoint.error


def _stalled(checkpoint: Checkpoint, owned: bool, seconds: float) -> str:
    """One that nobody owns ended in order. An owner that is still named did not."""
    how = "holds it" if owned else "neither holds it any more nor gave it back: it hangs, or was killed"
    error = f" ({checkpoint.error})" if checkpoint.error else ""
    return f"it has not moved for {seconds:.0f} s; its owner {checkpoint.owner} {how}{error}"


async def measured_status(store: EventStore, sink: Sink, app: App | None, *, seconds: float = 1.0) -> Status:
    """The status; when a projection is behind, it is looked at twice, so that its rate is known."""
    first = await status_of(store, sink, app)
    if not any(projection.lag and projection.state in ("running", "rebuilding") for projection in first.projections):
        return first
    await asyncio.sleep(seconds)
    return await status_of(store, sink, app, before=first)


def document_of(now: Status) -> dict[str, object]:
    """A status as `refold status --json` prints it: times as datetimes, rates a second."""
    projections = [
        {
            **msgspec.structs.asdict(each),
            "rate": each.rate,
            "moved_at": from_microseconds(each.moved_at) if each.moved_at else None,
        }
        for each in now.projections
    ]
    return {
        "store": now.store,
        "at": from_microseconds(now.at),
        "head": now.head,
        "recorded_at": from_microseconds(now.recorded_at) if now.head else None,
        "rate": round(now.rate, 3),
        "ok": now.ok,
        "projections": projections,
    }
