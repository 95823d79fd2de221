"""The connection to Redis: where it is, its script, and its errors in our words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from refold.errors import ConfigurationError, MissingExtra, StoreFull, StoreReadOnly, StoreUnavailable

try:
    import redis.asyncio as redis
    from redis import exceptions
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as missing:
    raise MissingExtra(
        f'read models in Redis need redis-py ({missing}); install it with: pip install "refold[redis]"'
    ) from missing

__all__ = ["RedisServer"]

_SECONDS_TO_CONNECT = 5.0
_SECONDS_TO_ANSWER = 30.0
_DEFAULT_PREFIX = "refold"


class RedisServer:
    """One Redis, spoken to by one script. Every method raises `StoreUnavailable`, `StoreFull`, `StoreReadOnly`,
    `ConfigurationError`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port or 6379
            options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        except ValueError as problem:
            raise ConfigurationError(f"the URL of Redis cannot be read: {problem}; {_EXPECTED}") from None
        path = parts.path.strip("/") or "0"
        if not (path.isascii() and path.isdigit()):
            raise ConfigurationError(f"the URL of Redis names database {path!r}, which is no number; {_EXPECTED}")
        database = int(path)
        unknown = sorted(set(options) - {"prefix"})
        if unknown or not parts.hostname:
            raise ConfigurationError(
                f"the URL of Redis has {'an option ' + repr(unknown[0]) if unknown else 'no host'}; {_EXPECTED}"
            )
        self.prefix = options.get("prefix", [_DEFAULT_PREFIX])[-1]
        if not self.prefix.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"the prefix {self.prefix!r} of Redis keys must be letters, digits, - and _")
        self.name = f"redis at {parts.hostname}:{port}/{database}"
        self._client = redis.Redis.from_url(
            urlunsplit((parts.scheme, parts.netloc, f"/{database}", "", "")),
            socket_connect_timeout=_SECONDS_TO_CONNECT,
            socket_timeout=_SECONDS_TO_ANSWER,
            health_check_interval=15,
            # A server that was restarted has closed what waits in the pool. Every step of the script may be sent twice.
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[exceptions.ConnectionError],
        )
        self._script = self._client.register_script(
            files("refold.projections.sinks").joinpath("redis.lua").read_text(encoding="utf-8")
        )

    def tables(self, name: str) -> str:
        """The key of the hash that says where the tables of a read model are. The braces keep all of it in one slot."""
        return f"{{{self.prefix}:{name}}}"

    async def step(self, name: str, what: str, *arguments: Any) -> Any:
        """Runs one step of the script for a read model."""
        async with self._told():
            return await self._script(keys=[self.tables(name)], args=[what, *arguments])

    async def examine(self) -> None:
        """Raises `ConfigurationError` for a server that throws rows away when its memory is full."""
        async with self._told():
            memory = await self._client.info("memory")
        policy, limit = memory.get("maxmemory_policy", "noeviction"), int(memory.get("maxmemory", 0))
        if limit and policy != "noeviction":
            raise ConfigurationError(
                f"{self.name} throws keys away when its memory is full (maxmemory-policy {policy}), so rows would "
                "vanish; set maxmemory-policy noeviction"
            )

    async def run_id(self) -> str:
        """Which run of which server answers."""
        async with self._told():
            server = await self._client.info("server")
        return str(server["run_id"])

    async def rows(self, name: str, generation: str, at_once: int) -> list[list[bytes]]:
        """All hashes of a generation, in pieces, each as field, value, field, value …"""
        base = f"{self.tables(name)}:{generation}"
        found: list[list[bytes]] = []
        async with self._told():
            keys = [key async for key in self._client.sscan_iter(f"{base}:keys", count=at_once)]
            keys = list(dict.fromkeys(keys))
            for start in range(0, len(keys), at_once):
                pipeline = self._client.pipeline(transaction=False)
                for key in keys[start : start + at_once]:
                    pipeline.hgetall(f"{base}:row:".encode() + key)
                answers = await pipeline.execute()
                found.extend([part for item in row.items() for part in item] for row in answers)
        return found

    async def close(self) -> None:
        """Gives the connections back."""
        await self._client.aclose()

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        try:
            yield
        except (exceptions.AuthenticationError, exceptions.NoPermissionError) as problem:
            raise ConfigurationError(
                f"{self.name} refuses the login ({problem}); say user and password in the URL of the sink"
            ) from None
        except exceptions.ReadOnlyError:
            raise StoreReadOnly(f"{self.name} is a replica and takes no writes; name the primary") from None
        except exceptions.MovedError:
            raise ConfigurationError(
                f"{self.name} is one node of a cluster and has not the slot of this read model; name the node that has "
                "it, or use a Redis without a cluster"
            ) from None
        except (exceptions.OutOfMemoryError, exceptions.ResponseError) as problem:
            raise self._refused(problem) from None
        except (exceptions.RedisError, OSError, TimeoutError) as problem:
            raise StoreUnavailable(f"{self.name} cannot be reached: {str(problem) or type(problem).__name__}") from None

    def _refused(self, problem: Exception) -> Exception:
        text = " ".join(str(problem).split())
        for sign, kind, what in (
            ("OOM", StoreFull, "is full"),
            ("maxmemory", StoreFull, "is full"),
            ("WRONGPASS", ConfigurationError, "refuses the login; say user and password in the URL of the sink"),
            ("NOAUTH", ConfigurationError, "wants a login; say user and password in the URL of the sink"),
            ("NOPERM", ConfigurationError, "does not let this user do it"),
            ("WRONGTYPE", ConfigurationError, "has something of that name that is not ours; use another prefix"),
            ("DB index", ConfigurationError, "has no database of that number; say another one in the URL of the sink"),
            ("READONLY", StoreReadOnly, "is a replica and takes no writes; name the primary"),
        ):
            if sign in text:
                return kind(f"{self.name} {what} ({text})")
        return StoreUnavailable(f"{self.name} refuses for now: {text}")


_EXPECTED = "use redis://user:password@host:6379/0?prefix=bank"
