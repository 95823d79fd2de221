"""Writes a history into the hand-written events table."""

from typing import Any

from benchmarks import workload
from benchmarks.contenders.handwritten import store
from benchmarks.contenders.runner import serve


async def write(arguments: dict[str, Any]) -> dict[str, Any]:
    """`events` events over `accounts` accounts."""
    await store.write(arguments["url"], workload.history(arguments["accounts"], arguments["events"]))
    return {}


if __name__ == "__main__":
    serve(write)
