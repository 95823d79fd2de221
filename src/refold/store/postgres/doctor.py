"""Looking at a server and a log with a doctor's eye: what works against the promises, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from refold.errors import RefoldError, StoreUnavailable
from refold.store.health import Check, Health
from refold.store.postgres.address import Address
from refold.store.postgres.connection import ConnectionLost, Session
from refold.store.postgres.problems import ServerProblem, explain
from refold.store.postgres.rows import Rows
from refold.store.postgres.schema import SCHEMA_VERSION, migrations
from refold.store.postgres.wire import Parameter, text

__all__ = ["Check", "examine"]

_OLDEST, _NEWEST = 14, 18
_TABLES = (
    "events",
    "event_tags",
    "snapshots",
    "schema_version",
    "parked",
    "skipped",
    "attempts",
    "pauses",
    "operations",
)

_SETTINGS = """
select name::text, setting::text from pg_settings where name in (
    'server_version_num', 'server_encoding', 'fsync', 'full_page_writes', 'synchronous_commit', 'autovacuum',
    'default_transaction_isolation', 'default_transaction_read_only', 'max_connections'
)"""
_RECOVERY = "select pg_is_in_recovery()"
_TABLES_THERE = """
select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'p')"""
_VERSION = "select coalesce(max(version), 0) from @schema@.schema_version"
_INDEXES = """
select i.relname::text from pg_index x join pg_class i on i.oid = x.indexrelid
join pg_namespace n on n.oid = i.relnamespace where n.nspname = $1 and x.indisvalid and x.indisready"""
_WANTED_INDEXES = (
    "events_pkey",
    "events_stream_version_key",
    "events_append_id_key",
    "event_tags_pkey",
    "snapshots_pkey",
)
_TRIGGERS = """
select t.tgname::text from pg_trigger t join pg_class c on c.oid = t.tgrelid
join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and t.tgenabled = 'A'"""
_WANTED_TRIGGERS = ("events_are_immutable", "event_tags_are_immutable")
_RIGHTS = """
select r.what from (values
    ('usage on the schema', has_schema_privilege($2, 'usage')),
    ('select on schema_version', has_table_privilege($1 || '.schema_version', 'select')),
    ('select on events', has_table_privilege($1 || '.events', 'select')),
    ('insert on events', has_table_privilege($1 || '.events', 'insert')),
    ('select on event_tags', has_table_privilege($1 || '.event_tags', 'select')),
    ('insert on event_tags', has_table_privilege($1 || '.event_tags', 'insert')),
    ('select, insert, update and delete on snapshots',
        has_table_privilege($1 || '.snapshots', 'select') and has_table_privilege($1 || '.snapshots', 'insert')
        and has_table_privilege($1 || '.snapshots', 'update') and has_table_privilege($1 || '.snapshots', 'delete')),
    ('execute on its functions', not exists (
        select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where quote_ident(n.nspname) = $1 and not has_function_privilege(p.oid, 'execute')))
) as r (what, has) where not r.has"""
_CHANGERS = """
select distinct case when a.grantee = 0 then 'PUBLIC' else a.grantee::regrole::text end
from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a
where n.nspname = $1 and c.relname in ('events', 'event_tags')
    and a.privilege_type in ('UPDATE', 'DELETE', 'TRUNCATE')"""
_FUNCTIONS = """
select p.proname::text, p.prosrc from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = $1"""
_LOCKED = """
select l.pid, extract(epoch from clock_timestamp() - a.xact_start)::bigint
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted
    and l.database = (select oid from pg_database where datname = current_database())
    and l.classid::bigint = (@lock@ >> 32) & 4294967295 and l.objid::bigint = @lock@ & 4294967295 and l.objsubid = 1"""
_OLDEST_TRANSACTION = """
select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)::bigint
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"""


async def examine(address: Address, listen: Address | None = None) -> list[Check]:
    """Looks at everything. A server that cannot be reached is the one check that failed; nothing is raised for it."""
    try:
        session = await Session.connect(address, "doctor")
    except RefoldError as problem:
        return [Check("connection", "error", str(problem), "start the server, or correct the URL")]
    try:
        return await _Examination(session, address, listen).run()
    except ServerProblem as problem:
        raise explain(problem, address.name) from problem
    except ConnectionLost as lost:
        raise StoreUnavailable(f"{address.name}: the connection was lost ({lost})") from lost
    finally:
        session.drop("examined")


class _Examination:
    def __init__(self, session: Session, address: Address, listen: Address | None) -> None:
        self._session = session
        self._address = address
        self._listen = listen
        self._rows = Rows()
        self._found: list[Check] = []

    async def run(self) -> list[Check]:
        self._add("connection", True, self._address.name)
        settings = dict(await self._ask(_SETTINGS))
        self._server(settings)
        await self._primary()
        if await self._schema():
            await self._log()
        await self._doorbell()
        await self._transactions()
        return self._found

    async def _ask(self, sql: str, *parameters: Parameter) -> list[tuple[Any, ...]]:
        return self._rows.of(await self._session.query(self._address.of(sql).encode(), parameters))

    def _add(self, name: str, well: bool, detail: str, advice: str = "", health: Health = "error") -> None:
        self._found.append(Check(name, "ok", detail) if well else Check(name, health, detail, advice))

    def _server(self, settings: dict[str, str]) -> None:
        number = int(settings["server_version_num"])
        version = f"{number // 10_000}.{number % 10_000}"
        if number // 10_000 > _NEWEST:
            self._add(
                "version", False, version, f"tested with {_OLDEST} to {_NEWEST} only; run the contract suite", "warning"
            )
        else:
            self._add("version", number // 10_000 >= _OLDEST, version, f"upgrade to {_OLDEST} or later")
        expected: list[tuple[str, Callable[[str], bool], Health, str]] = [
            ("server_encoding", lambda it: it == "UTF8", "error", "put the log into a database with encoding UTF8"),
            ("fsync", lambda it: it == "on", "error", "set fsync = on: without it a crash may take the whole log"),
            ("full_page_writes", lambda it: it == "on", "error", "set full_page_writes = on: a crash may tear a page"),
            (
                "synchronous_commit",
                lambda it: it != "off",
                "warning",
                "appends turn it on for themselves; your own transactions do not",
            ),
            (
                "default_transaction_isolation",
                lambda it: it == "read committed",
                "warning",
                "appends need READ COMMITTED and say so, at the price of two more round trips",
            ),
            ("default_transaction_read_only", lambda it: it == "off", "error", "unset it, or connect to the primary"),
            (
                "autovacuum",
                lambda it: it == "on",
                "warning",
                "turn it on: a log that is never vacuumed gets slow to read",
            ),
        ]
        for name, good, health, advice in expected:
            self._add(name, good(settings[name]), settings[name], advice, health)

    async def _primary(self) -> None:
        [(standby,)] = await self._ask(_RECOVERY)
        self._add(
            "primary",
            not standby,
            "standby" if standby else "primary",
            "a standby can be read; append to the primary",
            "warning",
        )

    async def _schema(self) -> bool:
        schema = text(self._address.schema)
        there = {name for (name,) in await self._ask(_TABLES_THERE, schema)}
        missing = [name for name in _TABLES if name not in there]
        if "schema_version" not in there:
            self._add(
                "schema", False, f"{self._address.schema}: no log", "run `refold migrate`, or check the schema's name"
            )
            return False
        [(version,)] = await self._ask(_VERSION)
        self._add(
            "schema",
            version == SCHEMA_VERSION and not missing,
            f"{self._address.schema}: version {version}" + (f"; missing: {', '.join(missing)}" if missing else ""),
            "run `refold migrate`"
            if version < SCHEMA_VERSION
            else "install the Refold that made it, or restore a backup",
        )
        return version == SCHEMA_VERSION and not missing

    async def _log(self) -> None:
        schema = text(self._address.schema)
        valid = {name for (name,) in await self._ask(_INDEXES, schema)}
        broken = [name for name in _WANTED_INDEXES if name not in valid]
        self._add("indexes", not broken, ", ".join(broken) or "valid", "make them anew with REINDEX INDEX CONCURRENTLY")
        enabled = {name for (name,) in await self._ask(_TRIGGERS, schema)}
        missing = [name for name in _WANTED_TRIGGERS if name not in enabled]
        self._add(
            "triggers",
            not missing,
            ", ".join(missing) or "enabled always",
            "ALTER TABLE … ENABLE ALWAYS TRIGGER …: events must not change",
        )
        await self._functions()
        lacking = [what for (what,) in await self._ask(_RIGHTS, text(self._address.quoted_schema), schema)]
        self._add(
            "rights", not lacking, ", ".join(lacking) or "sufficient", "have the log's owner GRANT them to this role"
        )
        changers = sorted(name for (name,) in await self._ask(_CHANGERS, schema))
        self._add(
            "grants",
            not changers,
            f"may change events but for the triggers: {', '.join(changers)}"
            if changers
            else "nobody may change events",
            "REVOKE UPDATE, DELETE, TRUNCATE on events and event_tags",
            "warning",
        )
        holders = [(pid, seconds) for pid, seconds in await self._ask(_LOCKED) if seconds >= 1]
        self._add(
            "lock",
            not holders,
            "; ".join(f"process {pid} has held it for {seconds} s" for pid, seconds in holders)
            or f"key {self._address.lock}, free",
            "all appends wait for it; end that transaction",
        )

    async def _functions(self) -> None:
        found = dict(await self._ask(_FUNCTIONS, text(self._address.schema)))
        different = [
            name for name, source in _shipped_functions().items() if found.get(name) != self._address.of(source)
        ]
        self._add(
            "functions",
            not different,
            ", ".join(different) or "as shipped",
            "somebody changed them; restore them from the migrations",
        )

    async def _doorbell(self) -> None:
        if self._listen is not None:
            try:
                session = await Session.connect(self._listen, "doctor")
            except RefoldError as problem:
                self._add("doorbell", False, str(problem), "correct listen_url", "warning")
                return
        else:
            session = self._session
        try:
            self._add(
                "doorbell",
                session.direct,
                "direct connection"
                if session.direct
                else "behind a pooler: appends of other processes are found by polling",
                "give listen_url a direct address",
                "warning",
            )
        finally:
            if session is not self._session:
                session.drop("examined")

    async def _transactions(self) -> None:
        [(seconds,)] = await self._ask(_OLDEST_TRANSACTION)
        self._add(
            "oldest transaction",
            seconds < 3600,
            f"{seconds} s",
            "appends do not mind, but nothing in this database can be vacuumed meanwhile; end it",
            "warning",
        )


def _shipped_functions() -> dict[str, str]:
    """The source of each function, as the last migration that makes it has it."""
    sources: dict[str, str] = {}
    for _, sql in migrations():
        for made in re.finditer(
            r"create (?:or replace )?function @schema@\.(\w+)\(.*?\bas \$\$(.*?)\$\$", sql, re.DOTALL
        ):
            sources[made.group(1)] = made.group(2)
    return sources
