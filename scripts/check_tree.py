"""Check that nothing is committed which belongs to one machine: a path, an index's address, a secret, a big file."""

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LARGEST_BYTES = 1_000_000

# Written so that this file does not match itself.
FORBIDDEN = {
    "a path of somebody's machine": [
        r"(?<![\w.~])/(?:home|Users)/[a-z]\w*/",
        r"(?<![\w.~])/ro[o]t/\w",
        r"/wor[k]/(?:main|shared)",
        r"\.pye[n]v/",
    ],
    "a package index's address": [
        r"(?:index-ur[l]|find-link[s])[ =]\S*/",
        r"https?://[^\s/]*(?:pyp[i]|pythonhoste[d]|artifactor[y]|nexu[s])[^\s/]*/",
    ],
    "a secret": [
        r"-----BEGIN [A-Z ]*PRIVATE KE[Y]-----",
        r"\bAKI[A][0-9A-Z]{16}",
        r"\bgh[pousr]_[A-Za-z0-9]{36}",
        r"\bgithub_pa[t]_\w{40,}",
        r"\bsk-[A-Za-z0-9_-]{32,}",
    ],
    "a password for a server that is no example": [
        r"://[\w.%-]+:[\w.%-]+@(?!localhost|127\.0\.0\.1|\[::1\]|[\w.-]*example\b|(?:host|db|server)\b)",
    ],
}
IN_LOCK_FILES = {"an address in a lock file": [r"https?:/{2}", r"file:", r" @ "]}


def committed_files() -> list[Path]:
    """The files that git knows, and those that it would add."""
    # CI may check a tree out as another user than the one that looks at it, which git refuses to read by default.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    return [path for name in names.split("\0") if name and (path := PROJECT / name).is_file()]


def complaints_about(path: Path) -> list[str]:
    """What is wrong with one file, each with its line."""
    name = path.relative_to(PROJECT)
    content = path.read_bytes()
    if len(content) > LARGEST_BYTES:
        return [f"{name}: {len(content):,} bytes; files above {LARGEST_BYTES:,} do not belong into the repository"]
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return [f"{name}: not text in UTF-8"]
    checks = FORBIDDEN | (IN_LOCK_FILES if path.suffix == ".lock" else {})
    return [
        f"{name}:{number}: {what}: {match[0][:60]}"
        for number, line in enumerate(text.splitlines(), start=1)
        for what, patterns in checks.items()
        for pattern in patterns
        if (match := re.search(pattern, line))
    ]


def main() -> int:
    """Print every complaint; the exit code is 1 when there is one."""
    complaints = [complaint for path in committed_files() for complaint in complaints_about(path)]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
