"""A worker process that keeps the table of balances up to date until its standard input is closed."""

import sys

from benchmarks.contenders.eventsourcing import balances
from benchmarks.contenders.latency_protocol import serve_worker


def work(url: str) -> None:
    """Run the projection."""
    with balances.run(url):
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve_worker(work)
