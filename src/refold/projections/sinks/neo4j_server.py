"""The connection to Neo4j: where it is, its transactions, and its errors in our words."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from refold.errors import ConfigurationError, MissingExtra, StoreReadOnly, StoreUnavailable

try:
    from neo4j import AsyncDriver, AsyncGraphDatabase, AsyncTransaction
    from neo4j import exceptions as problems
except ImportError as missing:
    raise MissingExtra(
        f'read models in Neo4j need its driver ({missing}); install it with: pip install "refold[neo4j]"'
    ) from missing

__all__ = ["Clashed", "Run", "Server"]

_SECONDS_TO_CONNECT = 5.0
_SECONDS_TO_ANSWER = 60.0
_ATTEMPTS = 20
_OLDEST = (5, 23)
_EXPECTED = "use neo4j://user:password@host:7687/database?prefix=bank (or bolt://, neo4j+s://, bolt+s://)"
_CLASHES = (
    "TransientError.Transaction.DeadlockDetected",
    "TransientError.Transaction.LockClientStopped",
    "TransientError.Transaction.LockAcquisitionTimeout",
    # A node was removed for want of relationships while another transaction gave it one.
    "ClientError.Statement.EntityNotFound",
    "ClientError.Schema.ConstraintValidationFailed",
)
_SIGNS: tuple[tuple[str, type[Exception], str], ...] = (
    ("Security.Unauthorized", ConfigurationError, "refuses the login; say user and password in the URL of the sink"),
    ("Security.Authentication", ConfigurationError, "refuses the login; say user and password in the URL of the sink"),
    ("Security.CredentialsExpired", ConfigurationError, "wants this user to change the password first"),
    ("Security.Forbidden", ConfigurationError, "does not let this user do it; Refold needs to write data and schema"),
    ("Database.DatabaseNotFound", ConfigurationError, "has no such database; say another one in the URL of the sink"),
    ("Schema.ConstraintAlreadyExists", ConfigurationError, "has a constraint of that name that is not ours; drop it"),
    ("Schema.IndexAlreadyExists", ConfigurationError, "has an index there that is not ours; drop it"),
    ("Schema.IndexWithNameAlreadyExists", ConfigurationError, "has an index of that name that is not ours; drop it"),
    ("Schema.ConstraintWithNameAlreadyExists", ConfigurationError, "has a constraint of that name that is not ours"),
    ("Cluster.NotALeader", StoreReadOnly, "is no leader and takes no writes; name the cluster by neo4j://"),
    ("ForbiddenOnReadOnlyDatabase", StoreReadOnly, "takes no writes: the database is read-only"),
)
_Answer = TypeVar("_Answer")
Run = Callable[[str, dict[str, Any]], Awaitable[list[dict[str, Any]]]]
"""Runs one statement with parameters, and gives what it returns."""


class Clashed(Exception):
    """Another transaction was in the way; this one was rolled back, and is tried again."""


class Server:
    """One Neo4j. Every method raises `StoreUnavailable`, `StoreReadOnly`, `ConfigurationError`."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port or 7687
            options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        except ValueError as problem:
            raise ConfigurationError(f"the URL of Neo4j cannot be read: {problem}; {_EXPECTED}") from None
        unknown = sorted(set(options) - {"prefix"})
        database = unquote(parts.path.strip("/"))
        if unknown or not parts.hostname or "/" in database or parts.fragment:
            what = f"an option {unknown[0]!r}" if unknown else "no host" if not parts.hostname else "more than that"
            raise ConfigurationError(f"the URL of Neo4j has {what}; {_EXPECTED}")
        if parts.scheme.partition("+")[2] not in ("", "s", "ssc"):
            raise ConfigurationError(f"the URL of Neo4j begins with {parts.scheme + ':'!r}; {_EXPECTED}")
        self.prefix = options.get("prefix", [""])[-1]
        if self.prefix and not (self.prefix.isascii() and self.prefix.isalnum() and self.prefix[0].isalpha()):
            raise ConfigurationError(
                f"the prefix {self.prefix!r} of names in Neo4j must be letters and digits, a letter first"
            )
        self.prefix = self.prefix.lower()
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.name = f"neo4j at {host}:{port}" + (f"/{database}" if database else "")
        self._database = database or None
        self._url = f"{parts.scheme}://{host}:{port}"
        self._login = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
        self._opened: AsyncDriver | None = None

    def _driver(self) -> AsyncDriver:
        if self._opened is None:
            self._opened = AsyncGraphDatabase.driver(
                self._url,
                auth=self._login,
                connection_timeout=_SECONDS_TO_CONNECT,
                connection_acquisition_timeout=2 * _SECONDS_TO_CONNECT,
                notifications_min_severity="OFF",
            )
        return self._opened

    async def examine(self) -> None:
        """Raises `ConfigurationError` for a server that is too old."""
        async with self._told(), asyncio.timeout(_SECONDS_TO_ANSWER):
            info = await self._driver().get_server_info()
        version = info.agent.partition("/")[2]
        numbers = tuple(int(each) for each in version.split(".")[:2] if each.isdigit())
        if numbers and numbers < _OLDEST:
            raise ConfigurationError(
                f"{self.name} is Neo4j {version}, and what Refold asks of it needs "
                f"{'.'.join(map(str, _OLDEST))} at least; update it"
            )

    async def close(self) -> None:
        """Gives the connections back."""
        if self._opened is not None:
            await self._opened.close()

    async def attempt(self, work: Callable[[Run], Awaitable[_Answer]]) -> _Answer:
        """Does some work in one transaction, and commits it; again, when another transaction was in the way."""
        reconnected = False
        for attempt in range(_ATTEMPTS):
            committing = False
            try:
                async with self._told(), self._driver().session(database=self._database) as session:
                    async with asyncio.timeout(_SECONDS_TO_ANSWER):
                        begun = await session.begin_transaction()
                    async with begun as transaction:
                        answer = await work(_runner(transaction))
                        committing = True
                        async with asyncio.timeout(_SECONDS_TO_ANSWER):
                            await transaction.commit()
                    return answer
            except Clashed:
                # Those that clashed must not come together again.
                await asyncio.sleep(random.random() * 0.01 * 2 ** min(attempt, 6))  # noqa: S311  # no secret
            except StoreUnavailable:
                # A server that was restarted has closed what waits in the pool; what was not committed may be sent
                # twice.
                if committing or reconnected:
                    raise
                reconnected = True
        raise StoreUnavailable(f"{self.name}: other transactions were in the way {_ATTEMPTS} times")

    async def run(self, statement: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Runs one statement in a transaction of its own; one that may be run twice."""

        async def work(run: Run) -> list[dict[str, Any]]:
            return await run(statement, parameters or {})

        return await self.attempt(work)

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        try:
            yield
        except problems.Neo4jError as problem:
            raise self._refused(problem) from None
        except (problems.ConfigurationError, problems.ServiceUnavailable) as problem:
            text = " ".join(str(problem).split())
            if isinstance(problem, problems.ConfigurationError):
                raise ConfigurationError(f"{self.name} cannot be used: {text}") from None
            raise StoreUnavailable(f"{self.name} cannot be reached: {text}") from None
        except (problems.DriverError, OSError) as problem:
            text = " ".join(str(problem).split()) or f"no answer within {_SECONDS_TO_ANSWER:g} s"
            raise StoreUnavailable(f"{self.name} cannot be reached: {text}") from None

    def _refused(self, problem: problems.Neo4jError) -> Exception:
        code, text = problem.code or "", " ".join((problem.message or "").split())
        if code.endswith(_CLASHES):
            return Clashed(text)
        for sign, kind, what in _SIGNS:
            if sign in code:
                return kind(f"{self.name} {what} ({text})")
        return StoreUnavailable(f"{self.name} refuses for now: {text} ({code})")


def _runner(transaction: AsyncTransaction) -> Run:
    async def run(statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        async with asyncio.timeout(_SECONDS_TO_ANSWER):
            # Identifiers come from definitions, and are quoted; values are parameters.
            result = await transaction.run(statement, parameters)
            return [dict(zip(record.keys(), record.values(), strict=True)) async for record in result]

    return run
