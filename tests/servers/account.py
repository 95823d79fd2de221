"""The operating system's user that owns the servers, and the folder where they live.

`initdb`, `postgres` and `pgbouncer` refuse to run as root. Started by root, the servers run as `nobody`; otherwise as
whoever runs the tests. Everything they write lies in one folder under the system's temp folder, outside of root's home,
which `nobody` cannot enter.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT_UID = 0
PASSABLE = 0o711  # set after mkdir, because root's umask may close what it makes to everybody else

_started: list[subprocess.Popen[bytes]] = []


def running_as_root() -> bool:
    """Whether this process is root's, so that the servers have to run as somebody else."""
    return os.geteuid() == ROOT_UID


def server_uid() -> int:
    """The user id under which the servers run."""
    return pwd.getpwnam("nobody").pw_uid if running_as_root() else os.geteuid()


def base_folder() -> Path:
    """The folder of all servers that this user starts; created when missing.

    Raises PermissionError when somebody else owns it: the temp folder is shared, and a planted folder could feed us a
    foreign server.
    """
    temp = Path(tempfile.gettempdir()).resolve()
    if running_as_root() and not _open_to_everybody(temp):
        temp = Path("/tmp")  # root's own temp folder can be closed to `nobody`
    base = temp / f"refold-servers-{os.geteuid()}"
    base.mkdir(exist_ok=True)
    if base.lstat().st_uid != os.geteuid() or base.is_symlink():
        raise PermissionError(f"{base} belongs to another user; remove it, or set TMPDIR to a folder of your own")
    base.chmod(PASSABLE)
    return base


def new_folder(parent: Path, prefix: str) -> Path:
    """A new empty folder below `parent` which belongs to the servers' user and is closed to others."""
    parent.mkdir(exist_ok=True)
    parent.chmod(PASSABLE)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    _give_to_server(folder)
    return folder


def write_file(path: Path, text: str) -> None:
    """Write a file that only the servers' user (and root) can read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    _give_to_server(path)


def run_as_server(command: Sequence[str | Path], *, cwd: Path, output: Path | None = None) -> None:
    """Run a command as the servers' user and wait for it.

    Its output goes to a file, not to a pipe: a daemon that it leaves behind would hold the pipe open for ever.
    Raises RuntimeError, with the last lines of the output, when the command fails.
    """
    log = output or cwd / "commands.log"
    log.touch(mode=0o600)
    _give_to_server(log)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(cwd), "LC_ALL": "C"}
    with log.open("ab") as stream:
        done = subprocess.run(
            [str(part) for part in command],
            check=False,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            user=_user(),
            group=_group(),
            extra_groups=_groups(),
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise RuntimeError(
            f"{Path(command[0]).name} failed with exit code {done.returncode}; the end of {log}:\n{tail}"
        )


def start_as_server(command: Sequence[str | Path | int], *, cwd: Path, output: Path) -> int:
    """Start a command as the servers' user, in a session of its own, and return its process id at once."""
    output.touch(mode=0o600)
    _give_to_server(output)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(cwd), "LC_ALL": "C"}
    with output.open("ab") as stream:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=_user(),
            group=_group(),
            extra_groups=_groups(),
        )
    _started.append(process)  # else Python warns of a child that nobody waits for
    return process.pid


def runnable_by_server(program: Path) -> bool:
    """Whether the servers' user may run this program (it cannot when a parent folder is closed to it)."""
    try:
        done = subprocess.run(
            [str(program), "--version"],
            check=False,
            capture_output=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            user=_user(),
            group=_group(),
            extra_groups=_groups(),
        )
    except OSError:
        return False
    return done.returncode == 0


def remove(folder: Path) -> None:
    """Remove a server's folder, whatever is still in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _user() -> int | None:
    return server_uid() if running_as_root() else None


def _group() -> int | None:
    return pwd.getpwuid(server_uid()).pw_gid if running_as_root() else None


def _groups() -> list[int] | None:
    return [] if running_as_root() else None


def _give_to_server(path: Path) -> None:
    user, group = _user(), _group()
    if user is not None and group is not None:
        os.chown(path, user, group)


def _open_to_everybody(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))
