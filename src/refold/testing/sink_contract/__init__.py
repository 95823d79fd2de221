"""The contract of sinks: what every place for read models must do. A sink's author derives one class from it and gives
it a `sink` fixture: a sink on an empty store, prepared.
"""

from __future__ import annotations

import msgspec

from refold.projections.definitions import retired
from refold.projections.sink import LogSink, Sink
from refold.testing.sink_contract.columns import Columns
from refold.testing.sink_contract.leases import Leases
from refold.testing.sink_contract.models import EVERYTHING, ID, Everything, built, put
from refold.testing.sink_contract.querying import Querying
from refold.testing.sink_contract.switching import Switching
from refold.testing.sink_contract.writing import Writing

__all__ = ["EVERYTHING", "ID", "Everything", "LogSinkContract", "SinkContract"]


class SinkContract(Columns, Writing, Leases, Switching, Querying):
    """All of the contract."""


class LogSinkContract(SinkContract):
    """What a sink in the log's own database must do too. Its `sink` fixture is a `LogSink`."""

    async def test_a_checkpoint_for_rows_elsewhere(self, sink: LogSink) -> None:
        """It is enrolled, owned, noted by its owner only, and withdrawn."""
        await sink.enroll("elsewhere", "first")
        await sink.enroll("elsewhere", "first")
        mine = await sink.claim("elsewhere", "me", 60)
        assert mine is not None
        await sink.note("elsewhere", mine.epoch, 7, ID)
        await sink.note("elsewhere", mine.epoch - 1, 3, ID)
        await sink.enroll("elsewhere", "second")
        await sink.release("elsewhere", mine.epoch)
        await sink.withdraw("elsewhere")
        await sink.withdraw("elsewhere")
        assert await sink.claim("elsewhere", "me", 60) is None

    async def test_a_previous_one_that_nobody_chose_is_retired(self, sink: Sink) -> None:
        """It was written before definitions were kept."""
        await put(sink, Everything(id="first"))
        other = msgspec.structs.replace(EVERYTHING, fingerprint="other")
        await built(sink, Everything(id="second"), position=2, definition=other)
        await sink.choose(other.name, other.fingerprint, other.parts)
        assert retired(await sink.definitions(EVERYTHING.name), EVERYTHING.fingerprint)
