"""Problem details (RFC 9457): how every error becomes an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from refold.errors import (
    ConditionFailed,
    ConfigurationError,
    Conflict,
    DecodeError,
    FoldFailed,
    IdReused,
    InvalidAppend,
    InvalidCommand,
    InvalidQuery,
    LogRegression,
    OutcomeUnknown,
    Overloaded,
    PayloadTooLarge,
    ProjectionStopped,
    RefoldError,
    Refused,
    Rejected,
    StaleRead,
    StoreError,
    UnknownCommand,
    UnknownEvent,
)

__all__ = ["CONTENT_TYPE", "KINDS", "Kind", "Problem", "ProblemDetails", "problem_of"]

CONTENT_TYPE = "application/problem+json"


class Kind(msgspec.Struct, frozen=True):
    """A kind of problem: its HTTP status, and what it means in one line."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "malformed": Kind(400, "The request cannot be read"),
    "unauthenticated": Kind(401, "Nobody was recognised"),
    "forbidden": Kind(403, "This identity may not do that"),
    "rejected-forbidden": Kind(403, "The domain does not allow it to this actor"),
    "not-found": Kind(404, "There is no such thing"),
    "method-not-allowed": Kind(405, "That cannot be done here"),
    "not-acceptable": Kind(406, "It cannot be given in that form"),
    "conflict": Kind(409, "Other writers were faster"),
    "rejected": Kind(409, "The domain refuses the command"),
    "refused": Kind(409, "It would overwrite or mix up what is there"),
    "under-way": Kind(409, "It is under way already"),
    "ahead": Kind(412, "The log is not that long"),
    "too-large": Kind(413, "The body is too large"),
    "unsupported-media-type": Kind(415, "The body is not of that type"),
    "invalid": Kind(422, "A field does not fit"),
    "rejected-invalid": Kind(422, "The domain refuses the command's values"),
    "idempotency-key-reused": Kind(422, "The key belongs to another command"),
    "too-many": Kind(429, "Too many calls"),
    "failed": Kind(500, "It went wrong"),
    "unavailable": Kind(503, "The store cannot be reached"),
    "overloaded": Kind(503, "The append queue is full"),
    "stopped": Kind(503, "The read model stands still"),
    "outcome-unknown": Kind(503, "It may or may not be stored"),
    "stale": Kind(504, "The read model has not seen it in time"),
    "timeout": Kind(504, "It took too long"),
}


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem, as RFC 9457 has it. `code` is the last part of `type`; `field` names what does not fit, where one
    field is to blame (a path, as in `$.amount`); `rejection` the class with which the domain refuses, where it has one
    of its own.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    instance: str = ""
    field: str | None = None
    rejection: str | None = None
    stream: str | None = None
    expected: int | str | None = None
    actual: int | None = None
    read_model: str | None = None
    wanted: int | None = None
    reached: int | None = None


class Problem(Exception):
    """An answer that is a problem. `kind` is a key of `KINDS`."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self._more = more

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind].status

    def details(self, instance: str = "") -> ProblemDetails:
        """What is sent."""
        kind = KINDS[self.kind]
        return ProblemDetails(
            type=f"urn:refold:problem:{self.kind}",
            title=kind.title,
            status=kind.status,
            code=self.kind,
            detail=self.detail,
            instance=instance,
            **self._more,
        )


_RETRY_SOON = {"Retry-After": "1"}
_REJECTED = {403: "rejected-forbidden", 409: "rejected", 422: "rejected-invalid"}
_KIND_OF: tuple[tuple[type[RefoldError], str], ...] = (
    (IdReused, "idempotency-key-reused"),
    (InvalidCommand, "invalid"),
    (InvalidQuery, "invalid"),
    (UnknownCommand, "not-found"),
    (PayloadTooLarge, "too-large"),
    (InvalidAppend, "invalid"),
    (Refused, "refused"),
    (LogRegression, "ahead"),
    (ProjectionStopped, "stopped"),
    (Overloaded, "overloaded"),
    (OutcomeUnknown, "outcome-unknown"),
    (StoreError, "unavailable"),
    (UnknownEvent, "failed"),
    (DecodeError, "failed"),
    (FoldFailed, "failed"),
    (ConfigurationError, "invalid"),
)


def problem_of(error: RefoldError) -> Problem:
    """The problem that an error of Refold's is for a client. A subclass of `Rejected` may say by `status = 403`, `409`
    or `422` which of these it is; 409 otherwise.
    """
    if isinstance(error, Rejected):
        own = None if type(error) is Rejected else type(error).__name__
        return Problem(_REJECTED.get(getattr(error, "status", 409), "rejected"), error.reason, rejection=own)
    if isinstance(error, ConditionFailed):
        return Problem("conflict", str(error), expected=error.expected, actual=error.actual)
    if isinstance(error, Conflict):
        return Problem("conflict", str(error), stream=error.stream, expected=error.expected, actual=error.actual)
    if isinstance(error, StaleRead):
        return Problem(
            "stale",
            str(error),
            headers=_RETRY_SOON,
            read_model=error.read_model,
            wanted=error.wanted,
            reached=error.reached,
        )
    for cls, kind in _KIND_OF:
        if isinstance(error, cls):
            headers = _RETRY_SOON if KINDS[kind].status == 503 else None
            return Problem(kind, str(error), headers=headers)
    return Problem("failed", str(error))
