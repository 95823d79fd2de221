"""Asking endpoints over HTTP, and reading metrics."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any

IN_TIME = 8.0
"""Seconds: less than the patience of a store, so that an answer in time did not wait for one that is away."""

_SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


def ask(url: str, path: str = "", timeout: float = IN_TIME) -> tuple[int, Any]:
    """Status and document of an answer; no answer in time raises an error."""
    try:
        with urllib.request.urlopen(f"{url}{path}", timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def text_of(url: str) -> str:
    """The metrics."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=IN_TIME) as answer:
        text: str = answer.read().decode()
        return text


def value(text: str, name: str, **labels: str) -> float | None:
    """The value of the sample with these labels (among others), None when there is none."""
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        if sample is None or sample["name"] != name:
            continue
        found = dict(_LABEL.findall(sample["labels"] or ""))
        if labels.items() <= found.items():
            return float(sample["value"])
    return None


def names_in(text: str) -> set[str]:
    """The names of all series that a text can have, whether it has a value of them now or not."""
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    named = {name.removesuffix("_total"): kind for name, kind in kinds}
    return {f"{name}{ending}" for name, kind in named.items() for ending in _ENDINGS[kind]}
