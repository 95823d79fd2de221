"""How the command line ends: few codes, each of which asks for another reaction."""

from __future__ import annotations

from refold.errors import (
    BaselineError,
    ConfigurationError,
    Conflict,
    DecodeError,
    DefinitionError,
    FoldFailed,
    InvalidAppend,
    InvalidCommand,
    InvalidQuery,
    LogRegression,
    OutcomeUnknown,
    Overloaded,
    ProjectionStopped,
    RefoldError,
    Refused,
    Rejected,
    SchemaMismatch,
    StaleRead,
    StoreCorrupt,
    StoreError,
    TransferError,
    UnknownCommand,
    UnknownEvent,
)

__all__ = ["BUG", "FOUND", "INTERRUPTED", "OK", "TEXT", "USAGE", "exit_code_of"]

OK = 0
FOUND = 1
USAGE = 2
STORE = 3
DATA = 4
REFUSED = 5
BUG = 70
INTERRUPTED = 130

TEXT = {
    OK: "done; nothing is wrong",
    FOUND: "verify, replay-test, doctor or status found something wrong",
    USAGE: "the command line, the configuration or the app is wrong",
    STORE: "the store cannot be used: not reached, locked, full, another schema",
    DATA: "bad data: a broken export, an unknown event, a damaged database",
    REFUSED: "refused, to keep what is there: a conflict, a file, another log",
    BUG: "an error that Refold did not expect; --debug shows where",
    INTERRUPTED: "interrupted with Ctrl-C; the same command goes on from there",
}

_CODES: dict[type[RefoldError], int] = {
    Refused: REFUSED,
    Conflict: REFUSED,
    LogRegression: REFUSED,
    OutcomeUnknown: STORE,
    Overloaded: STORE,
    StaleRead: STORE,
    Rejected: REFUSED,
    TransferError: DATA,
    BaselineError: DATA,
    UnknownEvent: DATA,
    DecodeError: DATA,
    FoldFailed: DATA,
    InvalidAppend: DATA,
    InvalidCommand: DATA,
    ProjectionStopped: DATA,
    StoreCorrupt: DATA,
    SchemaMismatch: STORE,
    StoreError: STORE,
    ConfigurationError: USAGE,
    DefinitionError: USAGE,
    InvalidQuery: USAGE,
    UnknownCommand: USAGE,
}


def exit_code_of(problem: BaseException) -> int:
    """The code with which the command line ends after this error."""
    for cls in type(problem).__mro__:
        if cls in _CODES:
            return _CODES[cls]
    return BUG
