"""Installing the servers' packages on Debian and its relatives; on other systems saying what to install by hand."""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.servers.account import running_as_root
from tests.servers.chromium import find_chromium
from tests.servers.installations import Unavailable, find_pgbouncer, find_postgres
from tests.servers.jars import JDK_PACKAGES, MAVEN_PACKAGES, find_java, find_maven, install_jars
from tests.servers.prometheus import find_prometheus
from tests.servers.redis import find_redis

# The first that this release knows is installed: Debian 12 has Postgres 15, other releases have its neighbours.
POSTGRES_PACKAGES = ("postgresql-15", "postgresql-14", "postgresql-16", "postgresql-17")

_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/refold-tests.conf")


def install_missing() -> int:
    """Install what is missing, say what could not be had, and return the exit code: 0 when all is there."""
    postgres, pgbouncer, java = _is_missing_postgres(), _is_missing_pgbouncer(), _is_missing_java()
    redis, prometheus, chromium = _is_missing_redis(), _is_missing_prometheus(), _is_missing_chromium()
    if (postgres or pgbouncer or redis or java or prometheus or chromium) and shutil.which("apt-get"):
        if not running_as_root():
            return _install_missing_with_sudo()
        if postgres:
            _install_first(POSTGRES_PACKAGES)
        if pgbouncer:
            _install_first(("pgbouncer",))
        if redis:
            _install_first(("redis-server",))
        if java:
            _install_first(JDK_PACKAGES)
            _install_first(MAVEN_PACKAGES)
        if prometheus:
            _install_first(("prometheus",))
        if chromium:
            _install_first(("chromium",))
    looked = (
        _is_missing_postgres(),
        _is_missing_pgbouncer(),
        _is_missing_prometheus(),
        _is_missing_chromium(),
        _is_missing_redis(),
        _is_missing_java() or _is_missing_jars("opensearch", "OpenSearchMain"),
        _is_missing_java() or _is_missing_jars("neo4j", "Neo4jMain"),
    )
    reasons = list(dict.fromkeys(reason for reason in looked if reason))
    for reason in reasons:
        print(f"servers: {reason}", file=sys.stderr)
    return 1 if reasons else 0


def _install_missing_with_sudo() -> int:
    if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode:
        print(
            "servers: something is missing; as root run: "
            f"apt-get install postgresql-15 pgbouncer prometheus chromium redis-server maven {JDK_PACKAGES[0]}",
            file=sys.stderr,
        )
        return 1
    command = ["sudo", "-n", sys.executable, "-B", "-m", "tests.servers", "install"]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode


def _is_missing_postgres() -> str | None:
    try:
        find_postgres("postgres15")
    except Unavailable as reason:
        return str(reason)
    return None


def _is_missing_pgbouncer() -> str | None:
    try:
        find_pgbouncer()
    except Unavailable as reason:
        return str(reason)
    return None


def _is_missing_redis() -> str | None:
    try:
        find_redis()
    except Unavailable as reason:
        return str(reason)
    return None


def _is_missing_java() -> str | None:
    try:
        find_java("javac")
        find_maven()
    except Unavailable as reason:
        return str(reason)
    return None


def _is_missing_jars(name: str, main: str) -> str | None:
    try:
        install_jars(name, main)
    except Unavailable as reason:
        return str(reason)
    return None


def _is_missing_prometheus() -> str | None:
    try:
        find_prometheus("prometheus")
        find_prometheus("promtool")
    except Unavailable as reason:
        return str(reason)
    return None


def _is_missing_chromium() -> str | None:
    try:
        find_chromium()
    except Unavailable as reason:
        return str(reason)
    return None


def _install_first(packages: tuple[str, ...]) -> None:
    """Install the first of these packages that this release knows."""
    if not any(_known(package) for package in packages):
        _apt_get("update")
    chosen = next((package for package in packages if _known(package)), None)
    if chosen is None:
        print(f"servers: apt-get knows none of {', '.join(packages)}", file=sys.stderr)
        return
    print(f"servers: installing the package {chosen}", file=sys.stderr)
    with ExitStack() as stack:
        _without_services(stack)
        if not _apt_get("install", "-y", "--no-install-recommends", chosen):
            _apt_get("update")  # the lists were too old to find the files that they name
            _apt_get("install", "-y", "--no-install-recommends", chosen)


def _known(package: str) -> bool:
    policy = subprocess.run(
        ["apt-cache", "policy", package], check=False, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}
    )
    return "Candidate:" in policy.stdout and "Candidate: (none)" not in policy.stdout


def _apt_get(*arguments: str) -> bool:
    """Run apt-get; its output is shown only when it failed."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-qq", *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    if done.returncode != 0:
        print(f"servers: apt-get {' '.join(arguments)} failed:\n{done.stdout}", file=sys.stderr)
    return done.returncode == 0


def _without_services(stack: ExitStack) -> None:
    """Want the programs only: no service that starts now, and no cluster that would start at the next boot."""
    for file, text, mode in (
        (_POLICY, "#!/bin/sh\nexit 101\n", 0o755),
        (_NO_CLUSTER, "create_main_cluster = false\n", 0o644),
    ):
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
        stack.callback(file.unlink, missing_ok=True)
