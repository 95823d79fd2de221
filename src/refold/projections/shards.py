"""Shards: the parts of one read model, each with the rows of its keys, a checkpoint, an owner and failures of its own.

A row belongs to a shard by the hash of its key, whatever stream its events are in: so no two shards write one row. The
checkpoint of the table stays, and stands for all of them; nobody moves it.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence

import msgspec

from refold.folds.read_model import RowKey
from refold.projections.checkpoint import STOPPED, Checkpoint
from refold.projections.parking.records import as_text

__all__ = ["SHARDED", "WHOLE", "Shard", "all_joined", "divided", "joined", "origins", "shard_of", "shards_of"]

SHARDED = "sharded"
"""The status of a table's own checkpoint while its shards have theirs: whoever sees it cannot claim it."""

_NAME = re.compile(r"(?P<table>[^:]+):(?P<number>\d+)of(?P<of>\d+)")


class Shard(msgspec.Struct, frozen=True):
    """The shard `number` (1, 2, …) `of` so many; the one of one is the whole."""

    number: int = 1
    of: int = 1

    def checkpoint(self, table: str) -> str:
        """The name of its checkpoint."""
        return table if self.of == 1 else f"{table}:{self.number}of{self.of}"

    def has(self, key: RowKey) -> bool:
        """Whether the row of a key is in it."""
        return self.of == 1 or zlib.crc32(as_text(key).encode()) % self.of == self.number - 1


WHOLE = Shard()


def shards_of(of: int) -> list[Shard]:
    """All shards of so many."""
    return [Shard(number, of) for number in range(1, of + 1)]


def shard_of(checkpoint: str) -> Shard:
    """The shard that a checkpoint's name says."""
    found = _NAME.fullmatch(checkpoint)
    return Shard(int(found["number"]), int(found["of"])) if found else WHOLE


def origins(new: Shard, before: int) -> list[Shard]:
    """The shards of `before` in which rows of a new shard are: as both are remainders of one hash, those that are alike
    for the greatest common divisor.
    """
    common = math.gcd(new.of, before)
    return [old for old in shards_of(before) if (old.number - new.number) % common == 0]


def divided(parts: Sequence[Checkpoint], of: int) -> list[Checkpoint] | None:
    """Where the shards of another number begin: with the positions of those that their rows are in now.

    None: the rows of one of them have seen different positions.
    """
    by_shard = {shard_of(each.name): each for each in parts}
    table, epoch = parts[0].name.partition(":")[0], max(each.epoch for each in parts) + 1
    found = []
    for new in shards_of(of):
        before = [by_shard[old] for old in origins(new, len(parts))]
        if len({each.position for each in before}) > 1:
            return None
        found.append(
            Checkpoint(
                name=new.checkpoint(table),
                position=before[0].position,
                append_id=before[0].append_id,
                fingerprint=before[0].fingerprint,
                epoch=epoch,
                updated_at=before[0].updated_at,
            )
        )
    return found


def joined(table: Checkpoint, parts: Sequence[Checkpoint]) -> Checkpoint:
    """What the shards of a table are together: as far as the last of them, and stopped as soon as one is. The epoch is
    the table's own.
    """
    if not parts:
        return table
    last = min(parts, key=lambda each: each.position)
    worst = next((each for each in parts if each.status == STOPPED), last)
    return msgspec.structs.replace(
        worst, name=table.name, position=last.position, append_id=last.append_id, epoch=table.epoch
    )


def all_joined(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The checkpoints of many tables: each table's own stands for its shards, which follow it."""
    parts: dict[str, list[Checkpoint]] = {}
    for each in checkpoints:
        if shard_of(each.name) != WHOLE:
            parts.setdefault(each.name.partition(":")[0], []).append(each)
    return [joined(each, parts.get(each.name, [])) for each in checkpoints]
