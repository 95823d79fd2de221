"""A sink for which every read model is kept as documents."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from refold.folds.read_model import ReadModelDefinition
from refold.projections.sink import LogSink


class _AsDocuments:
    def __init__(self, sink: LogSink) -> None:
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._sink, name)
        if not callable(found):
            return found
        return lambda *given, **named: found(*map(_as_document, given), **named)


def as_documents(sink: LogSink) -> LogSink:
    """The sink, which keeps every read model as documents, whatever its class says."""
    return cast("LogSink", _AsDocuments(sink))


def _as_document(given: Any) -> Any:
    if isinstance(given, list):
        return [_as_document(each) for each in given]
    return msgspec.structs.replace(given, documents=True) if isinstance(given, ReadModelDefinition) else given
