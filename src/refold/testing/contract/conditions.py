"""Append conditions: a decision that rests on a query holds, whoever appends meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from refold.errors import ConditionFailed
from refold.store.append import AppendCondition, AppendResult, Matching
from refold.store.event_store import EventStore
from refold.testing.contract.events import append_of, event, matching, part

__all__ = ["Conditions"]


class Conditions:
    """What an append condition guards."""

    async def test_a_match_after_the_position_refuses(self, store: EventStore) -> None:
        await store.append(append_of(part("a-1", event(1, tags=("course:1",)))))
        with pytest.raises(ConditionFailed) as failed:
            await store.append(append_of(part("b-1"), condition=matching("course:1")))
        assert (failed.value.after, failed.value.found) == (0, 1)
        assert (await store.head()).position == 1
        await store.append(append_of(part("b-1"), condition=matching("course:1", after=1)))

    async def test_all_tags_and_one_of_the_types_must_match(self, store: EventStore) -> None:
        await store.append(append_of(part("a-1", event(1, type="Taken", tags=("course:1", "student:1")))))
        for condition in (
            matching("course:1", "student:2"),
            matching("course:2"),
            matching("course:1", types=("Left",)),
            matching(types=("Left",)),
        ):
            await store.append(append_of(part("b-1"), condition=condition))
        for condition in (
            matching("course:1", "student:1"),
            matching("student:1", types=("Left", "Taken")),
            matching(types=("Taken",)),
            matching(),
        ):
            with pytest.raises(ConditionFailed):
                await store.append(append_of(part("b-1"), condition=condition))

    async def test_any_of_several_items_refuses(self, store: EventStore) -> None:
        await store.append(append_of(part("a-1", event(1, tags=("x",)))))
        with pytest.raises(ConditionFailed):
            await store.append(
                append_of(part("b-1"), condition=AppendCondition((Matching(("Never",)), Matching((), ("x",))), 0))
            )

    async def test_the_first_match_in_the_log_is_named_whichever_item_it_fits(self, store: EventStore) -> None:
        await store.append(append_of(part("a-1", event(1, tags=("x",)), event(2, tags=("y",)), event(3, tags=("x",)))))
        x, y, every = Matching((), ("x",)), Matching((), ("y",)), Matching()
        for items, after, first in (
            ((y, x), 0, 1),
            ((x, y), 0, 1),
            ((x, y), 1, 2),
            ((Matching((), ("never",)), x, y), 1, 2),
            ((x, every), 1, 2),
        ):
            with pytest.raises(ConditionFailed) as failed:
                await store.append(append_of(part("b-1"), condition=AppendCondition(items, after)))
            assert (failed.value.after, failed.value.found) == (after, first)

    async def test_the_first_match_is_named_where_the_batch_itself_holds_it(self, store: EventStore) -> None:
        condition = AppendCondition((Matching((), ("y",)), Matching((), ("x",))), 0)
        outcomes = await asyncio.gather(
            store.append(append_of(part("a-1", event(1, tags=("x",))))),
            store.append(append_of(part("a-2", event(1, tags=("y",))))),
            store.append(append_of(part("b-1"), condition=condition)),
            return_exceptions=True,
        )
        assert isinstance(outcomes[2], ConditionFailed)
        assert outcomes[2].found == 1

    async def test_racers_for_one_tag_have_one_winner(self, store: EventStore) -> None:
        outcomes = await asyncio.gather(
            *(
                store.append(append_of(part(f"s-{n}", event(n, tags=("seat:1",))), condition=matching("seat:1")))
                for n in range(16)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, AppendResult) for outcome in outcomes) == 1
        assert all(isinstance(outcome, (AppendResult, ConditionFailed)) for outcome in outcomes), outcomes
        assert (await store.head()).position == 1

    async def test_staggered_racers_that_read_first_have_one_winner(self, store: EventStore) -> None:
        async def take(number: int) -> None:
            for _ in range(number % 4):
                await asyncio.sleep(0)
            head = (await store.head()).position
            await store.append(
                append_of(
                    part(f"s-{number}", event(number, tags=("seat:1",))), condition=matching("seat:1", after=head)
                )
            )

        # Each may win after having seen the ones before; none may win without.
        outcomes = await asyncio.gather(*(take(number) for number in range(16)), return_exceptions=True)
        log = (await store.read_log()).events
        won = sum(outcome is None for outcome in outcomes)
        assert won == len(log) >= 1
        assert all(outcome is None or isinstance(outcome, ConditionFailed) for outcome in outcomes), outcomes

    async def test_disjoint_tags_do_not_disturb_each_other(self, store: EventStore) -> None:
        outcomes = await asyncio.gather(
            *(
                store.append(append_of(part(f"s-{n}", event(n, tags=(f"seat:{n}",))), condition=matching(f"seat:{n}")))
                for n in range(20)
            )
        )
        assert len(outcomes) == 20

    async def test_an_unconditional_append_that_waits_before_it_counts(self, store: EventStore) -> None:
        outcomes = await asyncio.gather(
            store.append(append_of(part("a-1", event(1, tags=("x",))))),
            store.append(append_of(part("b-1"), condition=matching("x"))),
            return_exceptions=True,
        )
        assert isinstance(outcomes[0], AppendResult)
        assert isinstance(outcomes[1], ConditionFailed)

    async def test_an_item_of_types_only_sees_what_waits_before_it(self, store: EventStore) -> None:
        outcomes = await asyncio.gather(
            *(store.append(append_of(part(f"a-{n}"), condition=matching(types=("Counted",)))) for n in range(5)),
            return_exceptions=True,
        )
        assert [isinstance(outcome, AppendResult) for outcome in outcomes] == [True, False, False, False, False]

    async def test_a_tag_given_twice_is_one(self, store: EventStore) -> None:
        await store.append(append_of(part("a-1", event(1, tags=("x", "x")))))
        with pytest.raises(ConditionFailed):
            await store.append(append_of(part("b-1"), condition=matching("x", "x")))

    async def test_a_condition_and_expected_versions_both_hold(self, store: EventStore) -> None:
        await store.append(append_of(part("a-1", event(1, tags=("x",)))))
        with pytest.raises(ConditionFailed):
            await store.append(append_of(part("a-1", expected=1), condition=matching("x")))
        result = await store.append(append_of(part("a-1", expected=1), condition=matching("y")))
        assert result.versions == {"a-1": 2}

    async def test_a_popular_tag_is_checked_from_the_position_on(self, store: EventStore) -> None:
        for _ in range(3):
            await store.append(append_of(part("a-1", *(event(n, tags=("hot", f"t:{n}")) for n in range(500)))))
        await store.append(append_of(part("b-1"), condition=matching("hot", after=1500)))
        with pytest.raises(ConditionFailed) as failed:
            await store.append(append_of(part("b-1"), condition=matching("hot", "t:499", after=1000)))
        assert failed.value.found == 1500

    async def test_a_position_beyond_the_head_is_no_reason_to_refuse(self, store: EventStore) -> None:
        await store.append(append_of(part("a-1"), condition=matching(after=10**6)))
