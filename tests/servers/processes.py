"""Processes of servers: which are alive, and how to end them for certain."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def alive(pid: int) -> bool:
    """Whether a process runs. One that ended and was not collected (a container may have nobody to) is dead."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def pid_in(pid_file: Path) -> int | None:
    """The process id in a server's pid file, or None when that server does not run.

    A file can outlive its server, and its number be given to a stranger: only a process whose command names the
    folder counts.
    """
    try:
        process = psutil.Process(int(pid_file.read_text(encoding="utf-8").splitlines()[0]))
        named = any(str(pid_file.parent) in argument for argument in process.cmdline())
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return None
    return process.pid if named and alive(process.pid) else None


def kill_tree(pid: int, *, timeout: float = 30.0) -> None:
    """SIGKILL a process and all that it started, and return when none of them runs any more.

    Raises TimeoutError when one is still there after `timeout` seconds.
    """
    try:
        parent = psutil.Process(pid)
        parent.suspend()  # else a postmaster starts new children between our look at the list and the kill
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    wait_until(
        lambda: not any(alive(process.pid) for process in family), f"processes below {pid} to end", timeout=timeout
    )


def wait_until(condition: Callable[[], bool], what: str, *, timeout: float) -> None:
    """Ask again and again until the condition holds; raises TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.01)


def started_by_living_process(folder_name: str) -> bool:
    """Whether the process that made a folder named `<pid>-…` still runs."""
    owner = folder_name.split("-")[0]
    return owner.isdigit() and (int(owner) == os.getpid() or alive(int(owner)))
