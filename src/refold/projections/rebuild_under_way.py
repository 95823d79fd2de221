"""Whether a read model is being built anew already, in whatever process: who does so, since when, and what to do.

This is for whoever would begin another one and wants to know at once. It holds nobody back: two who look at the same
moment both find nobody, and then the lease decides.
"""

from __future__ import annotations

import math

from refold.folds.read_model import ReadModelDefinition
from refold.messages.recorded import from_microseconds
from refold.projections.rebuild_orders import actor_who_cancels, paused_rebuild_in_words
from refold.projections.sink import Sink, building

__all__ = ["paused_rebuild", "running_rebuild"]


async def paused_rebuild(sink: Sink, definition: ReadModelDefinition) -> str:
    """Who paused the rebuild of a read model, in words; "" when nobody did.

    The process that built it may be gone: another one would stand still as well.
    """
    table = building(definition.name)
    pause = next((each for each in await sink.records.pauses() if each.name == table), None)
    if pause is None:
        return ""
    return f"read model {definition.name!r}: {paused_rebuild_in_words(pause)}, or with --cancel to end it"


async def running_rebuild(sink: Sink, definition: ReadModelDefinition) -> str:
    """Who builds a read model anew, in words; "" when nobody does, or whoever did was killed a while ago."""
    name = definition.name
    holder = await sink.holder(building(name))
    if holder is None:
        return ""
    if actor := actor_who_cancels(holder.owner):
        return f"the rebuild of read model {name!r} is just being ended by {actor}; try again"
    # What is built beside the rows that are read does not say whether it is to take their place.
    process, since = holder.owner.partition(":rebuild:")[0], from_microseconds(holder.epoch)
    return (
        f"read model {name!r} is being rebuilt, or compared, by {process} since {since.isoformat(timespec='seconds')}; "
        f"wait for its end, or end it: `refold rebuild {name} --cancel`. If that process was killed, it can be begun "
        f"again in {math.ceil(holder.seconds)} s"
    )
