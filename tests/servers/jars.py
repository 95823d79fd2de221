"""Servers that are Java programs: their jars, pinned by hash, from a Maven repository into a folder of their own."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.account import base_folder, new_folder
from tests.servers.installations import Unavailable

JDK_PACKAGES = ("openjdk-17-jdk-headless", "openjdk-21-jdk-headless", "default-jdk-headless")
MAVEN_PACKAGES = ("maven",)
_HERE = Path(__file__).parent


def find_java(program: str = "java") -> Path:
    """A program of the JDK; raises Unavailable when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(program, path=f"{home}/bin" if home else None) or shutil.which(program)
    if found is None:
        raise Unavailable(f"{program} was not found; run `make servers`, or install a JDK (17 or newer)")
    return Path(found)


def find_maven() -> Path:
    """Maven's program; it knows from where this machine gets its jars. Raises Unavailable when there is none."""
    found = shutil.which("mvn")
    if found is None:
        raise Unavailable("mvn was not found; run `make servers`, or install Maven")
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
        _download(_pinned(name), half_done)
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


_DEPENDENCY = """<dependency>
<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>
<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
</dependency>"""
_PROJECT = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>refold</groupId><artifactId>servers</artifactId><version>1</version>
<dependencies>{dependencies}</dependencies></project>"""


def _download(pinned: list[str], folder: Path) -> None:
    """Fetches exactly the listed jars, and checks each. Raises Unavailable."""
    wanted: dict[str, str] = {}
    dependencies = []
    for line in pinned:
        coordinates, digest = line.split()
        group, artifact, version = coordinates.split(":")
        wanted[f"{artifact}-{version}.jar"] = digest
        dependencies.append(_DEPENDENCY.format(group=group, artifact=artifact, version=version))
    project = folder / "pom.xml"
    project.write_text(_PROJECT.format(dependencies="".join(dependencies)), encoding="utf-8")
    done = subprocess.run(
        [find_maven(), "-q", "-B", "-f", project, "dependency:copy-dependencies", f"-DoutputDirectory={folder}"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    project.unlink()
    if done.returncode:
        raise Unavailable(f"the jars could not be downloaded: {done.stdout.strip()[-500:]}")
    for jar, digest in wanted.items():
        path = folder / jar
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise Unavailable(f"{jar} is not the one that is pinned: it is missing, or its hash differs")
