"""A replay finds every state that is not what it was, and the very event at which it parts from that."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from refold import Aggregate, App, Deleted, Event, ReadModel, Recorded, evolve
from refold.errors import BaselineError, InvalidQuery, Refused, TransferError
from refold.operations.replay import Difference, ExportLog, FoldReport, ReplayReport, StoreLog, replay
from refold.operations.transfer import export_to_file
from refold.store.append import ANY
from refold.store.event_store import EventStore
from refold.testing import MemoryStore
from tests.domain import (
    AccountClosed,
    AccountOpened,
    CloseAccount,
    DepositMoney,
    MoneyDeposited,
    MoneyWithdrawn,
    OpenAccount,
    WithdrawMoney,
    bank,
)


class Account(Aggregate, stream="account", id="account_id"):
    """As it is in `bank`, but that a deposit of exactly 13 is counted twice, and a closed account forgets its owner."""

    owner: str | None = None
    balance: Decimal = Decimal(0)
    closed: bool = False

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.owner = event.owner

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        self.balance += event.amount * (2 if event.amount == 13 else 1)

    @evolve
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        self.balance -= event.amount

    @evolve
    def was_closed(self, event: AccountClosed) -> None:
        self.closed = True


class AccountSummary(ReadModel, key="account_id"):
    """As it is in `bank`, but that a withdrawal of more than 50 belongs to another row too."""

    account_id: str
    owner: str = ""
    balance: Decimal = Decimal(0)
    movements: int = 0

    @evolve
    def opened(self, event: AccountOpened) -> None:
        self.owner = event.owner

    @evolve
    def deposited(self, event: MoneyDeposited) -> None:
        self.balance += event.amount
        self.movements += 1

    @staticmethod
    def rows(event: MoneyWithdrawn, recorded: Recorded[MoneyWithdrawn]) -> list[str]:
        return [recorded.stream_key, "large"] if event.amount > 50 else [recorded.stream_key]

    @evolve(key=lambda event, recorded: AccountSummary.rows(event, recorded))
    def withdrawn(self, event: MoneyWithdrawn) -> None:
        self.balance -= event.amount
        self.movements += 1

    @evolve
    def closed(self, event: AccountClosed) -> object:
        return Deleted


changed_bank = App("bank", aggregates=[Account], read_models=[AccountSummary])


async def fill(store: EventStore, commands: int, seed: int, accounts: int = 12) -> None:
    chance = random.Random(seed)
    async with bank.connect(store, projections=False) as context:
        for number in range(accounts):
            await context.execute(OpenAccount(account_id=str(number), owner=f"owner {number}"))
        for _ in range(commands):
            account = str(chance.randrange(accounts))
            deposit = DepositMoney(account_id=account, amount=Decimal(chance.choice((13, *range(5, 40)))))
            kinds: list[Any] = [
                deposit,
                deposit,
                WithdrawMoney(account_id=account, amount=Decimal(chance.randint(1, 70))),
            ]
            if chance.random() < 0.05:
                kinds = [CloseAccount(account_id=account)]
            await context.execute_many([chance.choice(kinds)])


def fold_of(report: ReplayReport, name: str) -> FoldReport:
    return next(fold for fold in report.folds if fold.name == name)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    return tmp_path / "bank.baseline"


async def test_the_same_code_makes_the_same_states(store: EventStore, baseline: Path) -> None:
    await fill(store, 200, seed=1)
    saved = await replay(StoreLog(store), bank, save=baseline)
    assert saved.ok
    assert saved.saved == str(baseline)
    assert fold_of(saved, "account").states == 12
    again = await replay(StoreLog(store), bank, baseline=baseline)
    assert again.ok, again
    assert [(fold.compared, fold.differing, fold.same_code) for fold in again.folds] == [
        (fold.states, 0, True) for fold in again.folds
    ]


async def test_an_export_and_its_store_have_the_same_baseline(store: EventStore, tmp_path: Path) -> None:
    await fill(store, 50, seed=2)
    await export_to_file(store, tmp_path / "log.jsonl")
    await replay(StoreLog(store), bank, save=tmp_path / "a")
    await replay(ExportLog(tmp_path / "log.jsonl"), bank, save=tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


async def states_after_each_event(store: EventStore, app: App) -> dict[tuple[str, str], dict[int, Any]]:
    """The slow and obvious way: for each state, what it is after each position."""
    from refold.folds.engine import AggregateFold, RowFold

    found: dict[tuple[str, str], dict[int, Any]] = defaultdict(dict)
    folds = {each.category: (AggregateFold[Any](each, app.types), each.cls) for each in app.aggregates.values()}
    states: dict[str, Any] = {}
    rows: dict[str, dict[Any, Any]] = defaultdict(dict)
    page = await store.read_log(limit=100_000)
    for stored in page.events:
        fold, cls = folds["account"]
        states[stored.stream] = fold.fold(states.get(stored.stream) or cls(), [stored])
        for read_model in app.read_models.values():
            RowFold(read_model).fold(rows[read_model.name], [app.types.decode(stored)])
        for stream, state in states.items():
            found["account", msgspec.json.encode(stream).decode()][stored.position] = msgspec.json.encode(state)
        for name, kept in rows.items():
            for key, row in kept.items():
                found[name, msgspec.json.encode(key).decode()][stored.position] = (
                    None if row is None else msgspec.json.encode(row)
                )
    return found


@pytest.mark.parametrize("seed", range(8))
async def test_the_event_at_which_states_part_is_the_very_one(seed: int, baseline: Path) -> None:
    store = MemoryStore()
    await fill(store, 250, seed=seed, accounts=5)
    await replay(StoreLog(store), bank, save=baseline)
    report = await replay(StoreLog(store), changed_bank, baseline=baseline, shown=100)
    was, is_ = await states_after_each_event(store, bank), await states_after_each_event(store, changed_bank)
    head = (await store.head()).position
    for name in ("account", "account_summary"):
        expected = {}
        for what in {key for key in (*was, *is_) if key[0] == name}:
            parted = [at for at in range(1, head + 1) if was[what].get(at) != is_[what].get(at)]
            if parted:
                expected[what[1]] = (parted[0], was[what].get(head) == is_[what].get(head), is_[what].get(parted[0]))
        fold = fold_of(report, name)
        assert fold.differing == len(expected) > 0
        assert fold.same_code is False
        assert all(difference.exact for difference in fold.differences)
        assert {
            each.key: (each.until, each.same_now, None if each.then is None else bytes(each.then))
            for each in fold.differences
        } == expected
        assert [each.until for each in fold.differences] == sorted(each.until for each in fold.differences)
        for each in fold.differences:
            assert each.event is not None
            assert each.event.position == each.until
    assert [fold.name for fold in report.folds if fold.gone] == ["deposits_per_day"]
    assert not report.ok


@pytest.mark.parametrize("every", [7, 1000])
async def test_with_an_interval_the_event_is_inside_of_it(every: int, baseline: Path) -> None:
    store = MemoryStore()
    await fill(store, 150, seed=3, accounts=5)
    await replay(StoreLog(store), bank, save=baseline, every=every)
    coarse = await replay(StoreLog(store), changed_bank, baseline=baseline, shown=100)
    fine_baseline = baseline.with_name("fine")
    await replay(StoreLog(store), bank, save=fine_baseline)
    assert fine_baseline.stat().st_size > baseline.stat().st_size
    fine = await replay(StoreLog(store), changed_bank, baseline=fine_baseline, shown=100)
    exact = {each.key: each for each in fold_of(fine, "account").differences}
    found = {each.key: each for each in fold_of(coarse, "account").differences}
    assert found
    # What has healed inside of an interval is not seen.
    assert {key for key, each in exact.items() if not each.same_now} <= set(found)
    for key, each in found.items():
        assert each.after < exact[key].until <= each.until
        assert each.until - each.after <= every
        assert each.now == exact[key].now
        if each.exact:
            assert each.event == exact[key].event


@pytest.mark.parametrize("at_once", [1, 3, 17])
async def test_more_states_than_fit_are_folded_in_parts(at_once: int, store: EventStore, tmp_path: Path) -> None:
    await fill(store, 120, seed=4)
    whole = await replay(StoreLog(store), bank, save=tmp_path / "whole")
    parts = await replay(StoreLog(store), bank, save=tmp_path / "parts", states_in_memory=at_once)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    assert [fold.states for fold in parts.folds] == [fold.states for fold in whole.folds]
    one = await replay(StoreLog(store), changed_bank, baseline=tmp_path / "whole")
    other = await replay(StoreLog(store), changed_bank, baseline=tmp_path / "whole", states_in_memory=at_once)
    assert msgspec.json.encode(one) == msgspec.json.encode(other)


async def test_a_log_that_has_grown_is_compared_as_far_as_it_went(store: EventStore, baseline: Path) -> None:
    await fill(store, 30, seed=5)
    saved = await replay(StoreLog(store), bank, save=baseline)
    async with bank.connect(store, projections=False) as context:
        for _ in range(10):
            await context.execute(DepositMoney(account_id="1", amount=Decimal(13)))
    report = await replay(StoreLog(store), bank, baseline=baseline)
    assert report.ok, report
    assert (report.position, report.head) == (saved.position, saved.position + 10)


async def test_a_baseline_of_another_log_is_refused(store: EventStore, baseline: Path) -> None:
    await fill(store, 30, seed=6)
    other = MemoryStore()
    await fill(other, 40, seed=6)
    await replay(StoreLog(store), bank, save=baseline)
    with pytest.raises(Refused, match=r"saved of another log: .* has another event at position 1"):
        await replay(StoreLog(other), bank, baseline=baseline)
    with pytest.raises(Refused, match=r"of a log of .* events, and .* ends at 0: it is another log, or an older copy"):
        await replay(StoreLog(MemoryStore()), bank, baseline=baseline)


async def test_a_log_that_went_another_way_later_is_refused(store: EventStore, tmp_path: Path) -> None:
    await fill(store, 30, seed=6)
    await export_to_file(store, tmp_path / "begin.jsonl")
    await replay(StoreLog(store), bank, save=tmp_path / "baseline")
    copy = MemoryStore()
    page = await store.read_log(limit=1_000)
    await copy.restore(page.events[:-5])
    async with bank.connect(copy, projections=False) as context:
        for _ in range(9):
            await context.execute(DepositMoney(account_id="1", amount=Decimal(1)))
    with pytest.raises(Refused, match="saved of another log"):
        await replay(StoreLog(copy), bank, baseline=tmp_path / "baseline")


class Exploded(Event):
    fuse: int


class Bomb(Aggregate, stream="bomb", id="bomb_id"):
    fuse: int = 0

    @evolve
    def exploded(self, event: Exploded) -> None:
        self.fuse = 100 // event.fuse


class Fuses(ReadModel, key="fuse"):
    fuse: int
    share: int = 0

    @evolve(key=lambda event: event.fuse)
    def exploded(self, event: Exploded) -> None:
        self.share += 100 // event.fuse


class Inverses(ReadModel, key="inverse"):
    inverse: int
    count: int = 0

    @evolve(key=lambda event: 100 // event.fuse)
    def exploded(self, event: Exploded) -> None:
        self.count += 1


async def test_a_fold_that_raises_ends_its_state_only() -> None:
    store = MemoryStore()
    app = App("bombs", aggregates=[Bomb], read_models=[Fuses, Inverses])
    async with app.connect(store, projections=False) as context:
        for bomb, fuse in ((1, 2), (2, 0), (1, 5), (2, 4), (3, 0)):
            await context.append(f"bomb-{bomb}", [Exploded(fuse=fuse)], expected=ANY)
    for at_once in (1, 1_000):
        report = await replay(StoreLog(store), app, states_in_memory=at_once)
        assert not report.ok
        bombs, fuses, inverses = report.folds
        assert [(each.event.position, each.key) for each in bombs.failures] == [(2, '"bomb-2"'), (5, '"bomb-3"')]
        assert "ZeroDivisionError" in bombs.failures[0].problem
        assert (bombs.states, bombs.failed) == (3, 2)
        assert [(each.event.position, each.key) for each in fuses.failures] == [(2, "[0]")]
        assert (fuses.states, fuses.failed) == (4, 1)
        assert [each.event.position for each in inverses.failures] == [2, 5]
        assert "its key cannot be found" in inverses.failures[0].problem
        assert (inverses.states, inverses.failed) == (3, 2)


async def test_a_fold_that_begins_to_raise_parts_there(baseline: Path) -> None:
    class Careful(Aggregate, stream="bomb", id="bomb_id"):
        fuse: int = 0

        @evolve
        def exploded(self, event: Exploded) -> None:
            self.fuse = 100 // event.fuse if event.fuse else 0

    store = MemoryStore()
    before = App("bombs", aggregates=[Careful])
    async with before.connect(store, projections=False) as context:
        for fuse in (2, 3, 0, 7):
            await context.append("bomb-1", [Exploded(fuse=fuse)], expected=ANY)
    await replay(StoreLog(store), before, save=baseline)
    (bombs,) = (await replay(StoreLog(store), App("bombs", aggregates=[Bomb]), baseline=baseline)).folds
    (difference,) = bombs.differences
    assert difference.until == 3
    assert difference.event.payload == '{"fuse":0}'
    assert (difference.before, difference.then, difference.now) == (msgspec.Raw(b'{"fuse":33}'), None, None)
    assert bombs.failed == 1


async def test_events_that_nobody_can_decode_are_named_and_left_out(store: EventStore, baseline: Path) -> None:
    await fill(store, 20, seed=7)
    await replay(StoreLog(store), bank, save=baseline)

    class Closing(Event, name="AccountClosed"):
        reason: str

    class Opened(Event, name="AccountOpened"):
        owner: str

    class Unknowing(Aggregate, stream="account", id="account_id"):
        owner: str | None = None
        balance: Decimal = Decimal(0)
        closed: bool = False

        @evolve
        def opened(self, event: Opened) -> None:
            self.owner = event.owner

    app = App("bank", aggregates=[Unknowing], events=[Closing])
    async with bank.connect(store, projections=False) as context:
        await context.execute(CloseAccount(account_id="1"))
    report = await replay(StoreLog(store), app)
    page = await store.read_log(limit=1_000)
    others = [event for event in page.events if event.type != "AccountOpened"]
    assert report.undecodable == len(others) > 0
    assert [each.event.position for each in report.unread] == [event.position for event in others][:20]
    assert report.unread[0].problem == f"no event class of the app is named {others[0].type!r}"
    assert fold_of(report, "account").failed == 0
    assert not report.ok
    compared = await replay(StoreLog(store), app, baseline=baseline, shown=100)
    assert {each.event.type for each in fold_of(compared, "account").differences} <= {
        "MoneyDeposited",
        "MoneyWithdrawn",
        "AccountClosed",
    }


async def test_what_does_not_fit_its_class_is_named(baseline: Path) -> None:
    class Closing(Event, name="AccountClosed"):
        reason: str

    store = MemoryStore()
    async with bank.connect(store, projections=False) as context:
        await context.execute(OpenAccount(account_id="1", owner="alice"))
        await context.execute(CloseAccount(account_id="1"))
    report = await replay(StoreLog(store), App("bank", events=[AccountOpened, Closing]))
    (unread,) = report.unread
    assert unread.event.position == 2
    assert "missing required field `reason`" in unread.problem


async def test_a_new_field_is_not_compared_and_a_lost_one_is_told(baseline: Path) -> None:
    class Named(Aggregate, stream="account", id="account_id"):
        events: int = 0
        owner: str | None = None

        @evolve
        def opened(self, event: AccountOpened) -> None:
            self.owner = event.owner
            self.events += 1

    class Nameless(Aggregate, stream="account", id="account_id"):
        owner: str | None = None

        @evolve
        def opened(self, event: AccountOpened) -> None:
            self.owner = event.owner

    store = MemoryStore()
    async with bank.connect(store, projections=False) as context:
        await context.execute(OpenAccount(account_id="1", owner="alice"))
    old, new = App("bank", aggregates=[Nameless]), App("bank", aggregates=[Named])
    await replay(StoreLog(store), old, save=baseline)
    grown = await replay(StoreLog(store), new, baseline=baseline)
    assert grown.ok
    assert grown.folds[0].new_fields == ["events"]
    await replay(StoreLog(store), new, save=baseline)
    shrunk = await replay(StoreLog(store), old, baseline=baseline)
    assert not shrunk.ok
    assert shrunk.folds[0].lost_fields == ["events"]
    assert shrunk.folds[0].compared is None


async def test_what_is_new_in_the_app_is_folded_and_not_compared(baseline: Path) -> None:
    store = MemoryStore()
    await fill(store, 10, seed=8)
    await replay(StoreLog(store), App("bank", aggregates=list(bank.aggregates)), save=baseline)
    report = await replay(StoreLog(store), bank, baseline=baseline)
    assert report.ok
    assert [fold.compared for fold in report.folds] == [12, None, None]


async def test_the_order_of_a_set_makes_no_difference(baseline: Path) -> None:
    class Names(ReadModel, key="all"):
        all: str
        names: frozenset[str] = frozenset()

        @evolve(key=lambda event: "all")
        def opened(self, event: AccountOpened) -> None:
            self.names |= {event.owner}

    class NamesFromBehind(ReadModel, key="all", name="names"):
        all: str
        names: frozenset[str] = frozenset()

        @evolve(key=lambda event: "all")
        def opened(self, event: AccountOpened) -> None:
            self.names = frozenset(sorted({event.owner, *self.names}, reverse=True))

    store = MemoryStore()
    await fill(store, 0, seed=9, accounts=30)
    rest = [MoneyDeposited]
    await replay(StoreLog(store), App("bank", read_models=[Names], events=rest), save=baseline)
    report = await replay(StoreLog(store), App("bank", read_models=[NamesFromBehind], events=rest), baseline=baseline)
    assert report.ok
    assert report.folds[0].same_code is False


async def test_a_dict_may_have_keys_that_are_no_text(baseline: Path) -> None:
    """Its encoder sorts no dict by dates or numbers. It raised, and the state was called one that cannot be folded."""

    class Days(ReadModel, key="all"):
        all: str
        days: dict[date, set[str]] = {}
        lengths: dict[int, str] = {}

        @evolve(key=lambda event: "all")
        def opened(self, event: AccountOpened) -> None:
            self.days.setdefault(date(2026, 1, 1 + len(event.owner)), set()).add(event.owner)
            self.lengths[len(event.owner)] = event.owner

    class DaysFromBehind(ReadModel, key="all", name="days"):
        all: str
        days: dict[date, set[str]] = {}
        lengths: dict[int, str] = {}

        @evolve(key=lambda event: "all")
        def opened(self, event: AccountOpened) -> None:
            self.days.setdefault(date(2026, 1, 1 + len(event.owner)), set()).add(event.owner)
            self.days = dict(sorted(self.days.items(), reverse=True))
            self.lengths = {len(event.owner): event.owner, **self.lengths, len(event.owner): event.owner}

    store = MemoryStore()
    await fill(store, 0, seed=9, accounts=30)
    rest = [MoneyDeposited]
    await replay(StoreLog(store), App("bank", read_models=[Days], events=rest), save=baseline)
    report = await replay(StoreLog(store), App("bank", read_models=[DaysFromBehind], events=rest), baseline=baseline)
    assert report.ok
    assert report.folds[0].same_code is False


async def test_a_fold_that_does_not_give_the_same_twice_is_seen(baseline: Path) -> None:
    class Stamped(ReadModel, key="all"):
        all: str
        at: str = ""

        @evolve(key=lambda event: "all")
        def opened(self, event: AccountOpened) -> None:
            self.at = datetime.now(UTC).isoformat()

    store = MemoryStore()
    await fill(store, 0, seed=9, accounts=3)
    app = App("bank", read_models=[Stamped])
    await replay(StoreLog(store), app, save=baseline)
    (stamped,) = (await replay(StoreLog(store), app, baseline=baseline)).folds
    assert stamped.differing == 1
    assert stamped.same_code


async def test_an_empty_log_has_a_baseline(baseline: Path) -> None:
    await replay(StoreLog(MemoryStore()), bank, save=baseline)
    assert (await replay(StoreLog(MemoryStore()), bank, baseline=baseline)).ok


async def test_a_baseline_replaces_only_a_baseline(baseline: Path) -> None:
    log = StoreLog(MemoryStore())
    baseline.write_text("my notes\n")
    with pytest.raises(Refused, match="is there and is no baseline"):
        await replay(log, bank, save=baseline)
    with pytest.raises(BaselineError, match="is no baseline of Refold"):
        await replay(log, bank, baseline=baseline)
    assert baseline.read_text() == "my notes\n"
    with pytest.raises(BaselineError, match="cannot be read: No such file"):
        await replay(log, bank, baseline=baseline.with_name("nowhere"))
    with pytest.raises(BaselineError, match="cannot be written"):
        await replay(log, bank, save=baseline.with_name("nowhere") / "x.baseline")


async def test_a_baseline_that_was_changed_or_cut_off_is_refused(baseline: Path) -> None:
    store = MemoryStore()
    await fill(store, 10, seed=8)
    await replay(StoreLog(store), bank, save=baseline)
    lines = baseline.read_text().splitlines(keepends=True)
    for broken in (
        lines[:-1],
        lines[:3],
        [*lines[:-1], lines[-1][:-20]],
        [*lines[:2], *lines[3:]],
        [lines[0], "<<<<<<< ours\n", *lines[1:]],
    ):
        baseline.write_text("".join(broken))
        with pytest.raises(BaselineError, match="cut off, or was changed"):
            await replay(StoreLog(store), bank, baseline=baseline)
    baseline.write_text(lines[0].replace('"format_version":1', '"format_version":2') + "".join(lines[1:]))
    with pytest.raises(BaselineError, match="has format version 2"):
        await replay(StoreLog(store), bank, baseline=baseline)


async def test_a_save_that_fails_leaves_the_old_baseline(tmp_path: Path, baseline: Path) -> None:
    store = MemoryStore()
    await fill(store, 10, seed=8)
    await replay(StoreLog(store), bank, save=baseline)
    before = baseline.read_bytes()
    await export_to_file(store, tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").write_bytes((tmp_path / "log.jsonl").read_bytes()[:-300])
    with pytest.raises(TransferError, match="was cut off here"):
        await replay(ExportLog(tmp_path / "log.jsonl"), bank, save=baseline)
    assert baseline.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank.baseline", "log.jsonl"]


class Score(msgspec.Struct, eq=False):
    points: int = 0
    hidden: Any = msgspec.field(default=None, name="hidden")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Score) and self.points == other.points


async def test_snapshots_are_part_of_the_fold(baseline: Path) -> None:
    """A state that JSON does not give back whole is another one once it comes from a snapshot."""

    class Game(Aggregate, stream="account", id="account_id"):
        score: Score = msgspec.field(default_factory=Score)

        @evolve
        def opened(self, event: AccountOpened) -> None:
            self.score.hidden = (1,)

        @evolve
        def deposited(self, event: MoneyDeposited) -> None:
            self.score.points += 1 if isinstance(self.score.hidden, tuple) else 100

    class Snapped(Game, stream="account", id="account_id", snapshot_every=2):
        pass

    store = MemoryStore()
    async with bank.connect(store, projections=False) as context:
        await context.execute(OpenAccount(account_id="1", owner="alice"))
        for _ in range(3):
            await context.execute(DepositMoney(account_id="1", amount=Decimal(1)))
    await replay(StoreLog(store), App("bank", aggregates=[Game]), save=baseline)
    (game,) = (await replay(StoreLog(store), App("bank", aggregates=[Snapped]), baseline=baseline)).folds
    assert [each.until for each in game.differences] == [3]


async def test_bad_bounds_are_refused() -> None:
    with pytest.raises(InvalidQuery):
        await replay(StoreLog(MemoryStore()), bank, every=0)


def test_a_difference_is_plain_data() -> None:
    assert (
        msgspec.json.decode(
            msgspec.json.encode(
                Difference(
                    key='"a"',
                    after=0,
                    until=1,
                    exact=True,
                    event=None,
                    before=None,
                    then=msgspec.Raw(b"{}"),
                    now=None,
                    same_now=False,
                )
            )
        )["then"]
        == {}
    )
