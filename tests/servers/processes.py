"""Processes of servers: which are alive, and how to end them for certain."""

import os
import time
from collections.abc import Callable

import psutil


def alive(pid: int) -> bool:
    """Whether a process runs. One that ended but was never collected counts as dead: in a container nobody may collect it."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


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
    wait_until(lambda: not any(alive(process.pid) for process in family), f"processes below {pid} to end", timeout=timeout)


def wait_until(condition: Callable[[], bool], what: str, *, timeout: float) -> None:
    """Ask again and again until the condition holds; raises TimeoutError, saying `what` was waited for, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.01)


def started_by_living_process(folder_name: str) -> bool:
    """Whether the process that made a folder named `<pid>-…` still runs."""
    owner = folder_name.split("-")[0]
    return owner.isdigit() and (int(owner) == os.getpid() or alive(int(owner)))
