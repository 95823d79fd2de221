"""Replay tests: today's code run over a recorded log, and its states compared with those of the code before."""

from refold.operations.replay.recorded_log import ExportLog, RecordedLog, StoreLog
from refold.operations.replay.replaying import replay
from refold.operations.replay.report import (
    Difference,
    EventFailure,
    FoldReport,
    RecordedSummary,
    ReplayReport,
)
from refold.operations.replay.source import replay_source

__all__ = [
    "Difference",
    "EventFailure",
    "ExportLog",
    "FoldReport",
    "RecordedLog",
    "RecordedSummary",
    "ReplayReport",
    "StoreLog",
    "replay",
    "replay_source",
]
