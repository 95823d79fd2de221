"""Servers that are Java programs: their jars, pinned by hash, from a Maven repository into a folder of their own."""

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.servers.account import base_folder, new_folder
from tests.servers.installations import Unavailable

JDK_PACKAGES = ("openjdk-17-jdk-headless", "openjdk-21-jdk-headless", "default-jdk-headless")
REPOSITORY = "REFOLD_MAVEN_REPOSITORY"
"""Names another repository than Maven Central, for machines that have a mirror."""

_CENTRAL = "https://repository.invalid"
_HERE = Path(__file__).parent


def find_java(program: str = "java") -> Path:
    """A program of the JDK; raises Unavailable when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(program, path=f"{home}/bin" if home else None) or shutil.which(program)
    if found is None:
        raise Unavailable(f"{program} was not found; run `make servers`, or install a JDK (17 or newer)")
    return Path(found)


def find_jars(name: str, main: str) -> Path:
    """The folder of a server's jars and its compiled `main`; raises Unavailable when it was not installed."""
    folder = _folder(name, main)
    if not folder.exists():
        raise Unavailable(f"the jars of {name} are not there; run `make servers`, it downloads them")
    return folder


def install_jars(name: str, main: str) -> None:
    """Downloads the jars that `{name}.jars` lists, checks each, and compiles `{main}.java`. Raises Unavailable."""
    folder = _folder(name, main)
    if folder.exists():
        return
    compiler = find_java("javac")
    print(f"servers: downloading the jars of {name}", file=sys.stderr)
    half_done = new_folder(base_folder(), f"{folder.name}-new-")
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda line: _download(line, half_done), _pinned(name)))
        done = subprocess.run(
            [compiler, "-cp", f"{half_done}/*", "-d", half_done, _HERE / f"{main}.java"],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Unavailable(f"{main}.java cannot be compiled: {done.stderr.strip()[:500]}")
        for path in half_done.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        half_done.chmod(0o755)
        if not folder.exists():
            half_done.rename(folder)
    finally:
        shutil.rmtree(half_done, ignore_errors=True)


def _folder(name: str, main: str) -> Path:
    """Named by what is in it, so that another list of jars is another folder."""
    content = (_HERE / f"{name}.jars").read_bytes() + (_HERE / f"{main}.java").read_bytes()
    return base_folder() / f"jars-{name}-{hashlib.sha256(content).hexdigest()[:12]}"


def _pinned(name: str) -> list[str]:
    lines = (_HERE / f"{name}.jars").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _download(line: str, folder: Path) -> None:
    coordinates, wanted = line.split()
    group, artifact, version = coordinates.split(":")
    jar = f"{artifact}-{version}.jar"
    url = f"{os.environ.get(REPOSITORY, _CENTRAL).rstrip('/')}/{group.replace('.', '/')}/{artifact}/{version}/{jar}"
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:
            content = answer.read()
    except (OSError, urllib.error.URLError) as problem:
        raise Unavailable(f"{jar} could not be downloaded ({problem}); {REPOSITORY} names another repository") from None
    if hashlib.sha256(content).hexdigest() != wanted:
        raise Unavailable(f"{jar} is not the one that is pinned: its hash differs")
    (folder / jar).write_bytes(content)
