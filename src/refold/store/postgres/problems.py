"""What the server says when it refuses, in Refold's words."""

from __future__ import annotations

import psycopg
from psycopg import pq

from refold.errors import (
    ConfigurationError,
    InvalidAppend,
    InvalidQuery,
    RefoldError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

__all__ = [
    "ServerProblem",
    "concerns_everything",
    "connecting",
    "explain",
    "explain_query",
    "from_psycopg",
    "raise_for",
]


class ServerProblem(Exception):
    """The server refused a statement; nothing of it is stored. The SQLSTATE says why."""

    def __init__(self, sqlstate: str, message: str, constraint: str = "") -> None:
        self.sqlstate = sqlstate
        self.message = message
        self.constraint = constraint
        super().__init__(f"{message} (SQLSTATE {sqlstate})")


def raise_for(result: pq.abc.PGresult) -> None:
    """Raises `ServerProblem` when a result is an error."""
    if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        return
    raise ServerProblem(
        _field(result, pq.DiagnosticField.SQLSTATE) or "XX000",
        _field(result, pq.DiagnosticField.MESSAGE_PRIMARY) or result.get_error_message(),
        _field(result, pq.DiagnosticField.CONSTRAINT_NAME),
    )


def _field(result: pq.abc.PGresult, field: pq.DiagnosticField) -> str:
    return (result.error_field(field) or b"").decode("utf-8", "replace")


def from_psycopg(problem: psycopg.Error) -> ServerProblem | None:
    """The same from psycopg's own exception; None when it did not come from the server."""
    if problem.sqlstate is None:
        return None
    return ServerProblem(
        problem.sqlstate, problem.diag.message_primary or str(problem), problem.diag.constraint_name or ""
    )


_EVERYTHING = ("08", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0", "XX")


def concerns_everything(problem: ServerProblem) -> bool:
    """Whether any other append would meet it too: a full disk, a missing right; not a value that cannot be kept."""
    return problem.sqlstate[:2] in _EVERYTHING


def explain(problem: ServerProblem, where: str) -> RefoldError:
    """The error for people. `where` names the store."""
    state, text = problem.sqlstate, " ".join(problem.message.split())
    if state == "53100" or "No space left on device" in text:
        return StoreFull(
            f"{where}: the disk is full ({text}); nothing was stored, appending goes on as soon as there is space"
        )
    if state == "25006":
        return StoreReadOnly(
            f"{where} is read-only ({text}); connect to the primary, or unset default_transaction_read_only"
        )
    if state == "42501":
        return StoreReadOnly(f"{where}: {text}; grant the role what the log's owner has, `refold doctor` names it")
    if state in ("3F000", "42P01", "42883"):
        return StoreCorrupt(
            f"{where}: part of the log's schema is missing ({text}); check the schema's name, or restore a backup"
        )
    if state == "22021" or state.startswith("22P"):
        return InvalidAppend(f"{where} cannot keep this text: {text}")
    if state[:2] in ("22", "54"):
        return InvalidAppend(f"{where} refused the append: {text}")
    if state == "55P03":
        return StoreUnavailable(
            f"{where}: the log was locked for too long by another session ({text}); nothing was stored"
        )
    if state == "57014":
        return StoreUnavailable(f"{where} did not answer in time and the statement was taken back; nothing was stored")
    if state == "23505":
        return StoreCorrupt(f"{where}: {text}; something else than Refold writes to this log")
    if state.startswith("XX"):
        return StoreCorrupt(f"{where}: {text}")
    if state[:2] in ("08", "53", "57"):
        return StoreUnavailable(f"{where}: {text}; nothing was stored")
    return StoreError(f"{where}: {text} (SQLSTATE {state})")


def explain_query(problem: ServerProblem, where: str) -> RefoldError:
    """The same for a statement that appends nothing: what it cannot keep or compare is a value of the query's."""
    if problem.sqlstate[:2] in ("22", "54"):
        text = " ".join(problem.message.split())
        return InvalidQuery(f"{where} cannot keep a value, nor compare with it: {text}")
    return explain(problem, where)


def connecting(problem: psycopg.Error, where: str, password: str | None) -> RefoldError:
    """The error for a connection that could not be made; one line, without the password."""
    lines = [line for line in str(problem).splitlines() if line.strip()]
    text = " ".join((lines[0] if lines else "no reason given").split())
    if password:
        text = text.replace(password, "…")
    if "password authentication failed" in text or "no password supplied" in text or "pg_hba.conf" in text:
        return StoreUnavailable(f"{where} refuses the login: {text}")
    if "database" in text and "does not exist" in text:
        return StoreUnavailable(f"{where}: {text}; create it first, as in `createdb`")
    if "invalid" in text and ("value" in text or "option" in text) and problem.sqlstate is None:
        return ConfigurationError(f"{where}: {text}")
    return StoreUnavailable(f"{where} cannot be reached: {text}")
