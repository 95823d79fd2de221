"""Build the wheel, look into it, use it in a new environment as a stranger would, and leave it in dist."""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = [PROJECT / "src" / name for name in ("refold", "refold_pytest")]
DIST = PROJECT / "dist"

USE = """
import importlib.util
import refold
assert importlib.util.find_spec("psycopg") is None, "psycopg came along without the extra"
assert "site-packages" in refold.__file__, refold.__file__
print("import refold: ok, without psycopg")
"""


def main() -> int:
    """Do all of it; a step that fails ends the program with its output."""
    with tempfile.TemporaryDirectory(prefix="refold-wheel-") as folder:
        wheel = build(Path(folder))
        check_content(wheel)
        use(wheel, Path(folder))
        keep(wheel.parent)
    return 0


def build(folder: Path) -> Path:
    """Build wheel and source archive, both with the locked build tool, and return the wheel."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder / "dist"], cwd=PROJECT, check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    (_source,) = (folder / "dist").glob("*.tar.gz")
    return wheel


def check_content(wheel: Path) -> None:
    """Every file of the package is in the wheel, the SQL and the typing marker with them, and nothing else is."""
    kept = {".py", ".sql", ".lua", ".typed", ".toml", ".txt", ".md", ".json", ".html", ".css", ".js", ".svg"}
    wanted = {
        path.relative_to(PROJECT / "src").as_posix()
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and (path.suffix in kept or path.name == "py.typed") and "__pycache__" not in path.parts
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    if packed != wanted:
        sys.exit(f"the wheel lacks {sorted(wanted - packed)}, and should not have {sorted(packed - wanted)}")
    for must in ("refold/py.typed", ".sql", "refold/server/console/static/index.html"):
        if not any(name.endswith(must) for name in packed):
            sys.exit(f"the wheel has no {must}")
    print(f"{wheel.name}: {len(packed)} files, {sum(name.endswith('.sql') for name in packed)} of them SQL")


def use(wheel: Path, folder: Path) -> None:
    """Install the wheel into a new environment with nothing but its own dependencies, and run it."""
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / "bin"
    pip: list[str | Path] = [programs / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", wheel], check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([programs / "python", "-c", USE], cwd=folder, env=clean, check=True)
    subprocess.run([programs / "refold", "--help"], cwd=folder, env=clean, check=True, stdout=subprocess.DEVNULL)
    print("refold --help: ok")


def keep(built: Path) -> None:
    """Put what was checked into dist/, in place of what an earlier version left there."""
    shutil.rmtree(DIST, ignore_errors=True)
    shutil.copytree(built, DIST)
    for path in sorted(DIST.iterdir()):
        print(path.relative_to(PROJECT))


if __name__ == "__main__":
    sys.exit(main())
