"""Whether the checkpoints belong to this log, and which of them are not those of what is read."""

from __future__ import annotations

from refold.operations.verify.findings import Check
from refold.projections.checkpoint import Checkpoint
from refold.projections.sink import read_model_of_table
from refold.store.event_store import EventStore

__all__ = ["check_checkpoints", "is_read"]


def is_read(checkpoint: Checkpoint) -> bool:
    """Whether it is the checkpoint of rows that are read, or of a shard of them: not of those being built or kept."""
    return read_model_of_table(checkpoint.name) == checkpoint.name.partition(":")[0]


async def check_checkpoints(store: EventStore, checkpoints: list[Checkpoint]) -> Check:
    """Whether every checkpoint belongs to this log: one that is ahead, or elsewhere, is from another backup."""
    check = Check("checkpoints", "no checkpoint is ahead of the log, or of another log")
    others = [checkpoint.name for checkpoint in checkpoints if not is_read(checkpoint)]
    if others:
        check.notes.append(f"not looked at, because their rows are not read: {', '.join(sorted(others))}")
    for checkpoint in filter(is_read, checkpoints):
        check.looked_at += 1
        # Looked up after the checkpoint: meanwhile the log can only have grown.
        head = (await store.head()).position
        where = f"checkpoint of {checkpoint.name} at {checkpoint.position}"
        if checkpoint.position > head:
            check.found(where, f"it is ahead of the log, which ends at {head}: was the log restored from a backup?")
        elif checkpoint.position and checkpoint.append_id:
            page = await store.read_log(after=checkpoint.position - 1, limit=1)
            if page.events and page.events[0].append_id.hex() != checkpoint.append_id.replace("-", ""):
                check.found(where, "the log has another event at its position: it belongs to another history")
    return check
