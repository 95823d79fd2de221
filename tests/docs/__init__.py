"""The code in README.md and docs/ is run, so that it cannot grow old."""
