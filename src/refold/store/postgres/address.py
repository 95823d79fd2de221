"""Where a log is: which server and database, which schema, and how it may be named without giving a password away."""

from __future__ import annotations

import hashlib
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
import psycopg
from psycopg import conninfo

from refold.errors import ConfigurationError

__all__ = ["DEFAULT_SCHEMA", "Address", "without_secrets"]

DEFAULT_SCHEMA = "refold"
_SECRETS = ("password", "passfile", "sslpassword", "sslkey", "oauth_client_secret")
_MAX_IDENTIFIER = 63
_CONNECT_TIMEOUT = 10
# A peer that vanished without a word (a pulled cable, a frozen virtual machine) is noticed after about half a minute.
_KEEPALIVES = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}


class Address(msgspec.Struct, frozen=True):
    """One log: a server's parameters as libpq takes them, and the schema that the log lives in."""

    parameters: dict[str, str]
    schema: str
    name: str

    @classmethod
    def parse(cls, url: str, schema: str | None = None) -> Address:
        """From a URL (`postgresql://user:password@host:port/database?schema=…&sslmode=…`).

        Raises `ConfigurationError` for what is not such a URL, an unknown parameter, or a schema that cannot be one.
        """
        shown = without_secrets(url)
        parts = _split(url, shown)
        pairs = parts.query.split("&") if parts.query else []
        named = [unquote(pair.partition("=")[2]) for pair in pairs if pair.partition("=")[0] == "schema"]
        if len(named) > 1 or (named and schema is not None and schema != named[0]):
            raise ConfigurationError(f"{shown}: the schema is given twice; give it once")
        chosen = named[0] if named else (DEFAULT_SCHEMA if schema is None else schema)
        _check_schema(chosen, shown)
        rest = "&".join(pair for pair in pairs if pair.partition("=")[0] != "schema")
        try:
            parsed = conninfo.conninfo_to_dict(url.partition("?")[0] + (f"?{rest}" if rest else ""))
        except psycopg.ProgrammingError as problem:
            raise ConfigurationError(f"{shown}: {_one_line(problem, parts.password)}") from None
        parameters = {key: str(value) for key, value in parsed.items() if value is not None}
        parameters.setdefault("connect_timeout", str(_CONNECT_TIMEOUT))
        for key, value in _KEEPALIVES.items():
            parameters.setdefault(key, value)
        # Payloads are UTF-8 whatever the client's environment says.
        parameters["client_encoding"] = "UTF8"
        return cls(parameters, chosen, shown)

    @property
    def database(self) -> str:
        """The database's name, as far as the URL says it."""
        return self.parameters.get("dbname") or self.parameters.get("user") or "postgres"

    @property
    def quoted_schema(self) -> str:
        """The schema as an SQL identifier."""
        return '"' + self.schema.replace('"', '""') + '"'

    @property
    def lock(self) -> int:
        """The key of the advisory lock that every append to this log takes."""
        return _key(f"refold log {self.schema}")

    @property
    def migration_lock(self) -> int:
        """The key of the advisory lock that a migration of this log takes."""
        return _key(f"refold migration {self.schema}")

    @property
    def channel(self) -> str:
        """The channel on which this log's doorbell is rung."""
        return f"refold_{self.lock & 0xFFFF_FFFF_FFFF_FFFF:016x}"

    def of(self, sql: str) -> str:
        """An SQL text, with the schema and the lock filled in for `@schema@` and `@lock@`."""
        return sql.replace("@schema@", self.quoted_schema).replace("@lock@", str(self.lock))


def without_secrets(url: str) -> str:
    """The URL as it may be shown: no password, wherever it stood."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return scheme.partition(":")[0][:20] + ":…"
    address, question, query = rest.partition("?")
    login, at, place = address.rpartition("@")
    shown = "&".join(pair for pair in query.split("&") if pair.partition("=")[0].lower() not in _SECRETS)
    return f"{scheme}://{login.partition(':')[0]}{at}{place}" + (f"?{shown}" if question and shown else "")


def _split(url: str, shown: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as problem:
        raise ConfigurationError(f"{shown} is not a URL: {problem}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(f"{shown} is not a Postgres URL; write postgresql://user@host:port/database")
    return parts


def _check_schema(schema: str, shown: str) -> None:
    if not schema or not schema.isprintable() or len(schema.encode()) > _MAX_IDENTIFIER:
        raise ConfigurationError(
            f"{shown}: {schema!r} cannot be a schema's name; use 1 to {_MAX_IDENTIFIER} plain characters"
        )
    if schema.startswith("pg_") or "@" in schema:
        raise ConfigurationError(f"{shown}: the schema's name {schema!r} is reserved; choose another")


def _key(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _one_line(problem: Exception, password: str | None) -> str:
    text = " ".join(str(problem).split())
    return text.replace(unquote(password), "…").replace(password, "…") if password else text
