"""Running a command anew whenever a file of the project changes, for `refold dev`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from types import ModuleType
from typing import Any

from refold.cli.lines import say
from refold.cli.settings import FILE_NAME
from refold.errors import ConfigurationError

__all__ = ["is_watched", "run_watched"]

_LIFELINE = "REFOLD_DEV"
"""The variable by which a process that is watched knows it: the number of a pipe that is closed when the watcher is
gone.
"""
_LOOK_MILLISECONDS = 300
_GRACE_SECONDS = 5.0


def is_watched() -> bool:
    """Whether this process is the one that is begun anew. It ends when its watcher does, however that ends: else it
    would hold the address and the store for ever.
    """
    pipe = os.environ.pop(_LIFELINE, None)
    if pipe is None:
        return False
    threading.Thread(target=_end_with_watcher, args=(int(pipe),), name="refold-lifeline", daemon=True).start()
    return True


def run_watched(arguments: Sequence[str]) -> None:
    """Runs `refold` with these arguments in a process of its own, until Ctrl-C or SIGTERM. Raises `ConfigurationError`
    without watchfiles.
    """
    try:
        import watchfiles
    except ImportError as problem:
        raise ConfigurationError(
            'reloading needs watchfiles: pip install "refold[dev]", or run `refold dev --no-reload`'
        ) from problem
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    lifeline, held = os.pipe()
    process = None
    try:
        for changes in _changes(watchfiles, ended):
            if process is None:
                process = _begun(arguments, lifeline)
            elif changes:
                say(f"{len(changes)} file(s) changed; beginning anew")
                _end(process)
                process = _begun(arguments, lifeline)
            elif process.returncode is None and process.poll() is not None:
                say("it has ended; it begins anew when a file changes (Ctrl-C ends this)", problem=True)
    finally:
        if process is not None:
            _end(process)
        os.close(lifeline)
        os.close(held)


def _changes(watchfiles: ModuleType, ended: threading.Event) -> Iterator[Set[Any]]:
    """What changed since the last time, at once and then whenever something does; nothing when nothing did."""
    python: Callable[[Any, str], bool] = watchfiles.PythonFilter()

    def wanted(change: Any, path: str) -> bool:
        return python(change, path) or os.path.basename(path) == FILE_NAME

    yield set()
    yield from watchfiles.watch(
        ".", watch_filter=wanted, stop_event=ended, rust_timeout=_LOOK_MILLISECONDS, yield_on_timeout=True
    )


def _begun(arguments: Sequence[str], lifeline: int) -> subprocess.Popen[bytes]:
    # Ctrl-C comes to both. One that does not serve yet would answer with a traceback; it is told to end anyhow.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.Popen(  # noqa: S603  # this same program, without a shell
            [sys.executable, "-m", "refold.cli", *arguments],
            env={**os.environ, _LIFELINE: str(lifeline)},
            pass_fds=[lifeline],
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_watcher(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
