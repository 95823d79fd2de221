"""The reference says what the docstrings say."""

import subprocess
import sys
from pathlib import Path


def test_the_reference_is_current() -> None:
    script = Path(__file__).parents[2] / "scripts" / "reference.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
