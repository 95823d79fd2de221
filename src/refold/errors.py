"""Every error that Refold raises on purpose. Each text says what was wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

__all__ = [
    "AlreadyAppended",
    "BaselineError",
    "ConditionFailed",
    "ConfigurationError",
    "Conflict",
    "DecodeError",
    "DefinitionError",
    "FoldFailed",
    "IdReused",
    "InvalidAppend",
    "InvalidCommand",
    "InvalidQuery",
    "LogRegression",
    "MissingExtra",
    "OutcomeUnknown",
    "Overloaded",
    "PayloadTooLarge",
    "ProjectionStopped",
    "RefoldError",
    "Refused",
    "Rejected",
    "SchemaMismatch",
    "StaleRead",
    "StateChanged",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreLocked",
    "StoreReadOnly",
    "StoreUnavailable",
    "TransferError",
    "UnknownCommand",
    "UnknownEvent",
    "UnknownVersion",
]


class RefoldError(Exception):
    """The root: `except RefoldError` catches what Refold raises on purpose, and nothing else."""


class DefinitionError(RefoldError):
    """A class of the user's cannot work (two events with one name, a read model without a key, …). Raised at definition
    time.
    """


class StateChanged(DefinitionError):
    """A `@decide` method changed the state that it was given, which only `@evolve` methods may. Nothing was stored, and
    the state is made anew from the log.
    """


class ConfigurationError(RefoldError):
    """A URL, an option or a configuration file is wrong."""


class MissingExtra(ConfigurationError):
    """A store or sink needs an optional package that is not installed; the text names the `pip install` for it."""


# --- commands ---------------------------------------------------------------------------------------------------------


class Rejected(RefoldError):
    """The domain refuses a command. Raise it in a `@decide` method, with the business reason as its text."""

    @property
    def reason(self) -> str:
        """The business reason, as the domain gave it."""
        return str(self)


class UnknownCommand(RefoldError):
    """No aggregate of this app decides this type of command."""


class InvalidCommand(RefoldError):
    """A command's fields do not fit its definition; the text names the field."""


class IdReused(InvalidCommand):
    """A command's id was another command's before. Nothing was stored: an id belongs to one command."""


# --- appending --------------------------------------------------------------------------------------------------------


class InvalidAppend(RefoldError):
    """An append cannot be stored whatever the state of the log is (stream id, expected version, payload, metadata)."""


class PayloadTooLarge(InvalidAppend):
    """An event's payload and metadata are larger than the configured limit."""


class Conflict(RefoldError):
    """The stream is not at the version that the append expected. Nothing of the append is stored.

    `expected` is in words of the store (`"no stream"`, `"exists"` or a number), `actual` is the stream's version (0: no
    stream).
    """

    def __init__(self, stream: str, expected: int | str, actual: int) -> None:
        self.stream = stream
        self.expected = expected
        self.actual = actual
        wanted = expected if isinstance(expected, str) else f"version {expected}"
        found = f"is at version {actual}" if actual else "has no events"
        super().__init__(
            f"conflict on stream {stream!r}: expected {wanted}, but it {found}; "
            "load it again and decide on the fresh state"
        )

    def __reduce__(self) -> tuple[type[Conflict], tuple[str, int | str, int]]:
        return (type(self), (self.stream, self.expected, self.actual))


class ConditionFailed(Conflict):
    """An event that matches the append condition is in the log after the condition's position. Nothing is stored."""

    def __init__(self, after: int, found: int) -> None:
        self.stream = ""
        self.expected = after
        self.actual = found
        self.after = after
        self.found = found
        RefoldError.__init__(
            self,
            f"the append condition failed: an event at position {found} matches, after position {after}; "
            "read again and decide on the fresh state",
        )

    def __reduce__(self) -> tuple[type[Conflict], tuple[int, int]]:  # type: ignore[override]  # other arguments than Conflict's
        return (type(self), (self.after, self.found))


class AlreadyAppended(RefoldError):
    """The log has an append of this transaction already, and with it all that the transaction wrote the first time.

    This time everything was rolled back, so that what the block wrote into the user's own tables is not there twice.
    """

    def __init__(self, append_id: UUID) -> None:
        self.append_id = append_id
        super().__init__(
            f"append {append_id} is in the log already, so this unit of work was done before; all of it was rolled back"
        )

    def __reduce__(self) -> tuple[type[AlreadyAppended], tuple[UUID]]:
        return (type(self), (self.append_id,))


class Overloaded(RefoldError):
    """The append queue is full. Nothing was stored; try again after a moment."""


class OutcomeUnknown(RefoldError):
    """The store went away while it committed and did not come back in time: the append may or may not be stored.

    Append again with the same `append_id` (for a command: the same `command_id`): the first result is returned if it
    was stored.
    """

    def __init__(self, append_id: UUID, cause: str) -> None:
        self.append_id = append_id
        self.cause = cause
        super().__init__(
            f"the outcome of append {append_id} is unknown ({cause}); "
            "append it again with the same id: it is stored once, and the first result is returned"
        )

    def __reduce__(self) -> tuple[type[OutcomeUnknown], tuple[UUID, str]]:
        return (type(self), (self.append_id, self.cause))


# --- reading ----------------------------------------------------------------------------------------------------------


class UnknownEvent(RefoldError):
    """The log holds an event of a type that no class of this app knows."""

    def __init__(self, type_name: str, position: int, stream: str) -> None:
        self.type_name = type_name
        self.position = position
        self.stream = stream
        super().__init__(
            f"no event class is named {type_name!r} (position {position}, stream {stream!r}); "
            "add the class to the app (events=[…]) or give the renamed class name=…"
        )

    def __reduce__(self) -> tuple[type[UnknownEvent], tuple[Any, ...]]:
        return (type(self), (self.type_name, self.position, self.stream))


class UnknownVersion(UnknownEvent):
    """The log holds an event that was written as a later version of its class than this app has: by a newer release."""

    def __init__(self, type_name: str, position: int, stream: str, written: int, known: int) -> None:
        super().__init__(type_name, position, stream)
        self.written = written
        self.known = known
        self.args = (
            f"event {type_name!r} at position {position} (stream {stream!r}) was written as version {written} of its "
            f"class, and this code knows it up to version {known}; deploy the release that wrote it",
        )

    def __reduce__(self) -> tuple[type[UnknownEvent], tuple[Any, ...]]:
        return (type(self), (self.type_name, self.position, self.stream, self.written, self.known))


class DecodeError(RefoldError):
    """A recorded event's payload does not fit its class; the text names position, stream and field."""


class FoldFailed(RefoldError):
    """An `@evolve` method raised. The text names class, event and position; the event stays in the log, so mend the
    method.
    """


class InvalidQuery(RefoldError):
    """A filter, order, page or point in time of a query cannot be answered."""


class StaleRead(RefoldError):
    """A read model did not reach the asked-for position in time. Nothing is lost: it can be read later, or with
    `fresh=True`.
    """

    def __init__(self, read_model: str, wanted: int, reached: int, seconds: float, why: str = "") -> None:
        self.read_model = read_model
        self.wanted = wanted
        self.reached = reached
        self.seconds = seconds
        self.why = why
        super().__init__(
            f"read model {read_model!r} is at position {reached}, not yet at {wanted}, after {seconds:.2g} s"
            + (f": {why}" if why else "; is its worker running?")
            + " (`fresh=True` reads without waiting)"
        )

    def __reduce__(self) -> tuple[type[StaleRead], tuple[str, int, int, float, str]]:
        return (type(self), (self.read_model, self.wanted, self.reached, self.seconds, self.why))


class ProjectionStopped(RefoldError):
    """A projection stopped at its last good checkpoint; the text says at which position and why."""


class LogRegression(RefoldError):
    """A checkpoint or snapshot is ahead of the log's head: the log was restored from an older backup. It is refused,
    not believed.
    """


# --- the store itself -------------------------------------------------------------------------------------------------


class StoreError(RefoldError):
    """The store itself cannot do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or refuses the login. Nothing was stored."""


class StoreLocked(StoreError):
    """Another process has the SQLite file open for writing."""


class StoreReadOnly(StoreError):
    """The SQLite file, its folder, or the database is read-only."""


class StoreFull(StoreError):
    """The disk is full. Nothing of this append was stored; appending goes on as soon as there is space."""


class StoreCorrupt(StoreError):
    """The file is not a Refold database, or is damaged."""


class SchemaMismatch(StoreError):
    """The database's schema is older or newer than this version of Refold works with."""

    def __init__(self, found: int, wanted: int, where: str) -> None:
        self.found = found
        self.wanted = wanted
        self.where = where
        advice = (
            "run `refold migrate`" if found < wanted else "install the version of Refold that wrote it, or a newer one"
        )
        super().__init__(f"{where} has schema version {found}, this Refold works with {wanted}; {advice}")

    def __reduce__(self) -> tuple[type[SchemaMismatch], tuple[int, int, str]]:
        return (type(self), (self.found, self.wanted, self.where))


class TransferError(RefoldError):
    """A line of an import cannot be used, or an export cannot be written; names the line and what is wrong with it."""

    def __init__(self, message: str, *, line: int | None = None, details: Mapping[str, object] | None = None) -> None:
        self.line = line
        self.details = dict(details or {})
        super().__init__(f"line {line}: {message}" if line is not None else message)


class BaselineError(RefoldError):
    """A baseline of a replay test cannot be read or written, or is none."""


class Refused(RefoldError):
    """What was asked would overwrite or mix up what is there: a file that exists, the import of another log."""


class AtEvent(str):
    """A note on what a fold raised: which event it was folding. Whoever says that anyhow leaves it out."""

    __slots__ = ()


def event_noted(problem: Exception) -> str:
    """The event that a fold was at when it raised this; nothing where that is not known."""
    return next((str(each) for each in getattr(problem, "__notes__", ()) if isinstance(each, AtEvent)), "")


def unexpected_in_words(problem: Exception) -> str:
    """What the user's own code raised, and at which event, where that is known."""
    event = event_noted(problem)
    return f"{problem!r}{f' ({event})' if event else ''}"
