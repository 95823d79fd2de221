"""Projects the log into the table of balances from its beginning, for so many seconds.

The library has no rebuild: a projection starts on an empty view. Its rate does not depend on how much is left.
"""

import time
from typing import Any

from benchmarks.contenders.eventsourcing import balances
from benchmarks.contenders.runner import peak_megabytes, serve


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Events a second."""
    with balances.run(arguments["url"]) as runner:
        begin, before = time.perf_counter(), _position(runner)
        runner.run_forever(timeout=arguments["seconds"])
        after, seconds = _position(runner), time.perf_counter() - begin
    return {"rate": (after - before) / seconds, "position": _position(runner), "peak": peak_megabytes()}


def _position(runner: Any) -> int:
    return runner.view.max_tracking_id(runner.app_name) or 0


if __name__ == "__main__":
    serve(measure)
