"""Loads one aggregate with many events, from a context that has not seen it; or from a snapshot and the events after
it.
"""

from time import perf_counter
from typing import Any

from benchmarks import workload
from benchmarks.contenders.refold.bank import Account, DepositMoney, LongAccount, app, deposited, long_app, new_event
from benchmarks.contenders.runner import peak_megabytes, serve
from refold.store.append import Append, StreamAppend

STREAM = "account-0"


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of one load, over an open connection."""
    if arguments["snapshot"]:
        await _take_snapshot(arguments)
    wanted, kind = (long_app, LongAccount) if arguments["snapshot"] else (app, Account)
    async with wanted.connect(arguments["url"], projections=False) as bank:
        version = await bank.store.stream_version(STREAM)
        begin = perf_counter()
        account = await bank.load(kind, "0")
        milliseconds = (perf_counter() - begin) * 1000
    return {"milliseconds": milliseconds, "version": version, "balance": account.balance, "peak": peak_megabytes()}


async def _take_snapshot(arguments: dict[str, Any]) -> None:
    """The command that makes the thousand full takes the snapshot; the other events come after it."""
    version, later = arguments["events"], arguments["after_snapshot"]
    async with long_app.connect(arguments["url"], projections=False) as bank:
        first = DepositMoney(account_id="0", amount=workload.amount(version), reference=workload.reference(version))
        await bank.execute(first, actor=workload.ACTOR)
        rest = tuple(new_event(deposited(workload.amount(version + n), version + n)) for n in range(1, later))
        await bank.store.append(Append((StreamAppend(STREAM, version + 1, rest),)))


if __name__ == "__main__":
    serve(measure)
