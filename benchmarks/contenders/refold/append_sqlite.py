"""The same on a SQLite file."""

from typing import Any

from benchmarks.contenders.refold import append
from benchmarks.contenders.runner import serve


async def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """The rate of `callers` tasks over `seconds`."""
    return await append.measure({**arguments, "url": f"sqlite:///{arguments['url']}"})


if __name__ == "__main__":
    serve(measure)
