"""One OpenSearch server, or a cluster behind one address: requests, what its answers mean, and bulk writes."""

from __future__ import annotations

import asyncio
import io
import logging
import ssl
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from refold.errors import (
    ConfigurationError,
    InvalidQuery,
    MissingExtra,
    RefoldError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

try:
    from aiohttp import ClientSSLError
    from opensearchpy import AIOHttpConnection, exceptions
except ImportError as missing:
    raise MissingExtra(
        "read models in OpenSearch need the package opensearch-py; run `pip install 'refold[opensearch]'`"
    ) from missing

__all__ = ["Busy", "Conflicted", "Place", "Server", "TooLarge", "pause", "place_of"]

_log = logging.getLogger("refold.projections")

T = TypeVar("T")

_EXPECTED = "use opensearch://user:password@host:9200/prefix (opensearchs:// for TLS)"
_OPTIONS = ("ca", "replicas")
_PREFIX = "abcdefghijklmnopqrstuvwxyz0123456789_-"
_SECONDS = 30
_CONNECTIONS = 20
_ANY_STATUS = range(300, 600)
_LARGE = 1_000_000
_OLDEST = {"opensearch": (1, 0), "elasticsearch": (7, 10)}


class Conflicted(Exception):  # an answer, not a failure
    """A document is not as it was when it was read."""


class Busy(StoreUnavailable):
    """The server has too much to do, and asks to come again later."""


class TooLarge(InvalidQuery):
    """A request has more bytes than the server takes."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says: where the server is, how to log in, and the prefix of all names there."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None
    prefix: str
    ca: str | None
    replicas: str

    @property
    def name(self) -> str:
        """What people call it."""
        return f"opensearch {self.host}:{self.port}{f'/{self.prefix}' if self.prefix else ''}"


def place_of(url: str) -> Place:
    """Reads a URL. Raises `ConfigurationError`, without showing what may be a secret in it."""
    try:
        parts = urlsplit(url)
        port = parts.port or 9200
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigurationError(f"the URL of OpenSearch cannot be read; {_EXPECTED}") from None
    if parts.scheme not in ("opensearch", "opensearchs") or not parts.hostname or parts.fragment:
        raise ConfigurationError(f"the URL of OpenSearch names no host; {_EXPECTED}")
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise ConfigurationError(f"the URL of OpenSearch has an option {unknown[0]!r}; there are {', '.join(_OPTIONS)}")
    prefix = parts.path.strip("/")
    if (
        len(prefix) > 64
        or prefix[:1] in ("_", "-")
        or prefix.endswith("-")
        or "--" in prefix
        or any(each not in _PREFIX for each in prefix)
    ):
        raise ConfigurationError(
            f"the prefix {prefix!r} in the URL of OpenSearch must be up to 64 of a-z, 0-9, _ and single -, and "
            "begin and end with a letter or a digit"
        )
    replicas = options.get("replicas", "0-1")
    low, _, high = replicas.partition("-")
    if not (low.isdecimal() and (high.isdecimal() or (not high and "-" not in replicas) or high == "all")):
        raise ConfigurationError(f"replicas={replicas!r} in the URL of OpenSearch is neither a number nor as in 0-1")
    return Place(
        host=parts.hostname,
        port=port,
        tls=parts.scheme == "opensearchs",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        prefix=prefix,
        ca=options.get("ca"),
        replicas=replicas,
    )


class _Connection(AIOHttpConnection):
    """One that leaves it to us to say what went wrong: its log would show a traceback for each attempt."""

    def log_request_success(self, method: str, full_url: str, path: str, *_: Any) -> None:
        _log.debug("%s %s", method, path)

    def log_request_fail(self, method: str, full_url: str, path: str, *_: Any, **__: Any) -> None:
        _log.debug("%s %s failed", method, path)


class Server:
    """Requests to one server. Every method raises `StoreUnavailable`, `ConfigurationError`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._client: _Connection | None = None

    def _connected(self) -> _Connection:
        if self._client is None:
            place, options = self.place, dict[str, Any]()
            if place.tls:
                try:
                    options |= {"use_ssl": True, "ssl_context": ssl.create_default_context(cafile=place.ca)}
                except OSError as problem:
                    raise ConfigurationError(
                        f"the file ca={place.ca!r} of {place.name} cannot be read: {problem}"
                    ) from None
            if place.user is not None:
                options["http_auth"] = (place.user, place.password or "")
            self._client = _Connection(place.host, place.port, timeout=_SECONDS, maxsize=_CONNECTIONS, **options)
        return self._client

    async def close(self) -> None:
        """Gives connections back."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def examine(self) -> None:
        """Raises `ConfigurationError` when the server is not one that can keep read models."""
        name = self.place.name
        said = await self.ask("GET", "/", dict[str, Any])
        version = (said or {}).get("version")
        number = str(version.get("number", "")) if isinstance(version, dict) else ""
        parts = number.split(".")
        if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            raise ConfigurationError(
                f"{name} does not say which version it is, so it is no OpenSearch; is the address right?"
            )
        kind = (
            str(version["distribution"]) if isinstance(version, dict) and "distribution" in version else "elasticsearch"
        )
        if (int(parts[0]), int(parts[1])) < _OLDEST.get(kind, (0, 0)):
            raise ConfigurationError(f"{name} is {kind} {number}, which is too old; run OpenSearch 2 or newer")

    async def ask(
        self,
        method: str,
        path: str,
        as_: type[T],
        body: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
    ) -> T | None:
        """The answer to a request; None when the index or document is not there. `body`: bytes, or what becomes JSON.

        Raises `Conflicted`, `Busy`, `TooLarge`, `InvalidQuery`, `StoreFull`, `StoreReadOnly`.
        """
        given = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        connection = self._connected()
        try:
            status, _, answer = await connection.perform_request(
                method, path, params=dict(params or {}), body=_sent(given), ignore=_ANY_STATUS
            )
        except exceptions.TransportError as problem:
            if isinstance(problem.info, ClientSSLError):
                raise ConfigurationError(
                    f"{self.place.name} cannot be trusted ({_cause(problem)}); give the file of its authority as ?ca=…"
                ) from problem
            raise StoreUnavailable(
                f"{self.place.name} cannot be reached ({_cause(problem)}); is it running, and the address right?"
            ) from problem
        if status == 404:
            return None
        if status == 409:
            raise Conflicted
        if not 200 <= status < 300:
            raise self._meaning(status, _reason(status, answer))
        try:
            return msgspec.json.decode(answer or "{}", type=as_)
        except msgspec.DecodeError as problem:
            raise ConfigurationError(
                f"{self.place.name} does not answer as OpenSearch does ({problem}); is the address right?"
            ) from None

    def _meaning(self, status: int, reason: str) -> RefoldError:
        name = self.place.name
        if status == 401:
            return ConfigurationError(f"{name} refuses the login; check user and password in the URL")
        if status == 403:
            return self.blocked(reason) or ConfigurationError(
                f"{name} does not allow it ({reason}); grant its user to manage, read and write these indices"
            )
        if status == 413:
            return TooLarge(f"{name} takes no request so large ({reason})")
        if status == 429:
            return self.blocked(reason) or Busy(f"{name} has too much to do ({reason})")
        if 400 <= status < 500:
            return InvalidQuery(f"{name} refuses the request: {reason}")
        return StoreUnavailable(f"{name} cannot answer now ({reason})")

    def blocked(self, reason: str) -> StoreFull | StoreReadOnly | None:
        """What it means that an index is blocked, if that is the reason."""
        if "blocked by" not in reason and "cluster_block" not in reason:
            return None
        if "disk" in reason or "read-only-allow-delete" in reason or "read-only / allow delete" in reason:
            return StoreFull(
                f"{self.place.name} has no disk space left and takes no writes ({reason}); it goes on "
                "as soon as there is space"
            )
        return StoreReadOnly(f"{self.place.name} takes no writes ({reason}); remove the block from the index")


def _sent(body: bytes | None) -> Any:
    # The client warns of large bodies that are not files.
    return body if body is None or len(body) < _LARGE else io.BytesIO(body)


class _Failure(msgspec.Struct):
    type: str = ""
    reason: str | None = None
    root_cause: list[_Failure] = []
    caused_by: _Failure | None = None


class _Failed(msgspec.Struct):
    error: _Failure | str = ""


def _reason(status: int, answer: str) -> str:
    """What the server says, in one line; nothing of the request."""
    try:
        error = msgspec.json.decode(answer, type=_Failed).error
    except msgspec.DecodeError:
        return f"HTTP {status}"
    if isinstance(error, str):
        return error[:300] or f"HTTP {status}"
    cause = error.root_cause[0] if error.root_cause else error
    deeper = cause.caused_by or error.caused_by
    said = f"{cause.type}: {cause.reason}" + (f": {deeper.reason}" if deeper is not None and deeper.reason else "")
    return " ".join(said.split())[:300]


def _cause(problem: Exception) -> str:
    info = getattr(problem, "info", None)
    return " ".join(str(info or type(info or problem).__name__).split())[:300]


async def pause(attempt: int) -> None:
    """Waits before a busy server is asked again, longer each time."""
    await asyncio.sleep(min(0.1 * 2**attempt, 3.0))
