"""One owner at a time, fenced by its epoch."""

from __future__ import annotations

import asyncio

from refold.projections.checkpoint import RUNNING, Move
from refold.projections.sink import Sink, building
from refold.testing.sink_contract.models import (
    EVERYTHING,
    ID,
    PAIR,
    Everything,
    every_row,
    owned,
    put,
)

__all__ = ["Leases"]


class Leases:
    """One owner at a time, fenced by its epoch."""

    async def test_registered_once(self, sink: Sink) -> None:
        """A second time changes nothing."""
        await put(sink, Everything(id="1"))
        before = await sink.checkpoint(EVERYTHING.name)
        await sink.register(EVERYTHING, EVERYTHING.name)
        assert await sink.checkpoint(EVERYTHING.name) == before
        assert await every_row(sink) == [Everything(id="1")]

    async def test_registered_by_many_at_once(self, sink: Sink) -> None:
        """Each comes back without an error, and there is one of it."""
        await asyncio.gather(*(sink.register(each, each.name) for each in [EVERYTHING, PAIR] * 4))
        assert [each.name for each in await sink.checkpoints()] == [EVERYTHING.name, PAIR.name]
        assert (await sink.checkpoints())[0].fingerprint == EVERYTHING.fingerprint

    async def test_one_owner_at_a_time(self, sink: Sink) -> None:
        """Until it is released."""
        mine = await owned(sink)
        assert (mine.owner, mine.status, mine.position) == ("me", RUNNING, 0)
        assert await sink.claim(EVERYTHING.name, "other", 60) is None
        await sink.release(EVERYTHING.name, mine.epoch)
        other = await sink.claim(EVERYTHING.name, "other", 60)
        assert other is not None
        assert other.epoch > mine.epoch
        assert await sink.claim(EVERYTHING.name, "me", 60) is None

    async def test_many_claim_at_once(self, sink: Sink) -> None:
        """One of them gets it."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        claims = await asyncio.gather(*(sink.claim(EVERYTHING.name, f"{number}", 60) for number in range(8)))
        assert sum(claim is not None for claim in claims) == 1

    async def test_an_expired_lease_is_taken_over(self, sink: Sink) -> None:
        """And the old owner can do nothing more."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        old = await sink.claim(EVERYTHING.name, "old", 0)
        assert old is not None
        new = await sink.claim(EVERYTHING.name, "new", 60)
        assert new is not None
        assert not await sink.renew(EVERYTHING.name, old.epoch, 60)
        await sink.mark(EVERYTHING.name, old.epoch, "stopped", "by the old one")
        await sink.release(EVERYTHING.name, old.epoch)
        assert not await sink.write(EVERYTHING, EVERYTHING.name, [Everything(id="1")], [], Move(0, 1, ID, old.epoch))
        assert await sink.checkpoint(EVERYTHING.name) == new
        assert await sink.renew(EVERYTHING.name, new.epoch, 60)

    async def test_a_renewed_lease_holds(self, sink: Sink) -> None:
        """Renewing makes an expired one hold again, unless another was faster."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        mine = await sink.claim(EVERYTHING.name, "me", 0)
        assert mine is not None
        assert await sink.renew(EVERYTHING.name, mine.epoch, 60)
        assert await sink.claim(EVERYTHING.name, "other", 60) is None

    async def test_who_holds_it_is_told(self, sink: Sink) -> None:
        """As long as nobody else can have it."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        assert await sink.holder("nothing") is None
        assert await sink.holder(EVERYTHING.name) is None
        mine = await sink.claim(EVERYTHING.name, "me", 60)
        assert mine is not None
        holder = await sink.holder(EVERYTHING.name)
        assert holder is not None
        assert (holder.owner, holder.epoch) == ("me", mine.epoch)
        assert 30 < holder.seconds <= 60
        await sink.release(EVERYTHING.name, mine.epoch)
        assert await sink.holder(EVERYTHING.name) is None
        assert await sink.claim(EVERYTHING.name, "me", -1) is not None
        assert await sink.holder(EVERYTHING.name) is None  # its time is over

    async def test_the_epoch_of_a_table_that_is_built_says_since_when(self, sink: Sink) -> None:
        """By the database's clock, which is not this process's."""
        begun = await sink.begin(EVERYTHING, "me", 60)
        assert begun is not None
        assert abs(begun.epoch - begun.updated_at) < 10_000_000
        holder = await sink.holder(building(EVERYTHING.name))
        assert holder is not None
        assert (holder.owner, holder.epoch) == ("me", begun.epoch)

    async def test_taken_by_force(self, sink: Sink) -> None:
        """For operators, and for tests."""
        mine = await owned(sink)
        taken = await sink.claim(EVERYTHING.name, "other", 60, force=True)
        assert taken is not None
        assert not await sink.renew(EVERYTHING.name, mine.epoch, 60)

    async def test_what_became_of_it_is_kept(self, sink: Sink) -> None:
        """Until it moves again, or another tries."""
        mine = await owned(sink)
        await sink.mark(EVERYTHING.name, mine.epoch, "stopped", "why: ' \" ü")
        marked = await sink.checkpoint(EVERYTHING.name)
        assert marked is not None
        assert (marked.status, marked.error) == ("stopped", "why: ' \" ü")
        assert await sink.write(EVERYTHING, EVERYTHING.name, [], [], Move(0, 1, ID, mine.epoch))
        moved = await sink.checkpoint(EVERYTHING.name)
        assert moved is not None
        assert (moved.status, moved.error) == (RUNNING, "")
        assert moved.updated_at > mine.updated_at
        await sink.mark(EVERYTHING.name, mine.epoch, "stopped", "why")
        taken = await sink.claim(EVERYTHING.name, "me", 60)
        assert taken is not None
        assert (taken.status, taken.error) == (RUNNING, "")

    async def test_a_new_epoch_is_above_a_given_one(self, sink: Sink) -> None:
        """Where a store elsewhere remembers a higher one than the log's database does."""
        await sink.register(EVERYTHING, EVERYTHING.name)
        mine = await sink.claim(EVERYTHING.name, "me", 60, above=7_000)
        assert mine is not None
        assert mine.epoch == 7_001

    async def test_nobody_claims_what_is_not_there(self, sink: Sink) -> None:
        """It is registered first."""
        assert await sink.claim("nothing", "me", 60) is None
        assert await sink.checkpoint("nothing") is None
        assert not await sink.renew("nothing", 1, 60)
