"""Loads one aggregate with many events, from a fresh process; or from a snapshot and the events after it."""

from time import perf_counter
from typing import Any

from eventsource import ExpectedVersion, StreamId
from eventsource.adapters.postgresql.snapshots import PostgreSQLSnapshotStore
from sqlalchemy.ext.asyncio import async_sessionmaker

from benchmarks import workload
from benchmarks.contenders.eventsource.bank import CATEGORY, event, open_engine, open_store, repository
from benchmarks.contenders.runner import peak_megabytes, serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of one load, over an open connection."""
    engine = open_engine(arguments["url"])
    store = await open_store(engine, create=False)
    options: dict[str, Any] = {}
    if arguments["snapshot"]:
        snapshots = PostgreSQLSnapshotStore(async_sessionmaker(engine, expire_on_commit=False), enable_tracing=False)
        options = {"snapshot_store": snapshots, "snapshot_mode": "manual"}
    accounts, account_id = repository(store, **options), workload.account_uuid(0)
    if arguments["snapshot"]:
        await accounts.create_snapshot(await accounts.load(account_id))
        await _append_after(store, arguments["events"], arguments["after_snapshot"])
    await store.get_stream_version(StreamId(aggregate_id=account_id, category=CATEGORY))
    begin = perf_counter()
    account = await accounts.load(account_id)
    milliseconds = (perf_counter() - begin) * 1000
    await engine.dispose()
    answer = {"milliseconds": milliseconds, "version": account.version, "balance": account.state.balance}
    return {**answer, "peak": peak_megabytes()}


async def _append_after(store: Any, version: int, events: int) -> None:
    account = workload.account_uuid(0)
    later = [event(account, version + n + 1, workload.amount(version + n), version + n) for n in range(events)]
    await store.append(StreamId(aggregate_id=account, category=CATEGORY), later, ExpectedVersion.exact(version))


if __name__ == "__main__":
    serve(measure)
