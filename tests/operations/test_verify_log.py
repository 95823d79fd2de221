"""Whatever somebody did to the log behind Refold's back, verify names it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from refold.errors import StoreCorrupt
from refold.messages.recorded import NewEvent
from refold.operations.transfer import export_lines
from refold.operations.verify import Check, Report, verify
from refold.store.append import ANY, Append, StreamAppend
from refold.store.event_store import EventStore, Snapshot
from refold.testing.memory import MemoryStore
from tests.domain import AccountOpened, MoneyDeposited, bank
from tests.operations.stores import fill
from tests.operations.tampering import Tamperer

ON_DISK = pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


def broken(report: Report) -> dict[str, Check]:
    return {check.name: check for check in report.checks if not check.ok}


def said(check: Check) -> str:
    return "\n".join(f"{finding.where}: {finding.problem}" for finding in check.findings)


async def append(store: EventStore, stream: str, *events: NewEvent) -> None:
    await store.append(Append((StreamAppend(stream, ANY, events),)))


def deposit(payload: bytes = b'{"amount":"1.00"}', *, tags: tuple[str, ...] = ()) -> NewEvent:
    return NewEvent(type="MoneyDeposited", payload=payload, tags=tags)


async def test_a_sound_log_has_no_findings(store: EventStore) -> None:
    await fill(store, 200)
    report = await verify(store, None, None)
    assert report.ok, broken(report)
    assert report.head == (await store.head()).position
    assert {check.name: check.looked_at for check in report.checks}["positions"] == report.head


async def test_an_empty_log_is_sound(store: EventStore) -> None:
    assert (await verify(store, None, bank)).ok


@ON_DISK
@pytest.mark.parametrize(
    ("change", "check", "finding"),
    [
        ("delete from {events} where position = 3", "positions", "position 3 is missing"),
        ("delete from {events} where position in (3, 4)", "positions", "positions 3 to 4 are missing"),
        ("delete from {events} where position = 1", "positions", "position 1 is missing"),
        ("update {events} set recorded_at = 1 where position = 3", "times", "position 3 "),
        ("update {events} set append_index = 5 where position = 3", "appends", "its append begins with event 5"),
        ("update {events} set version = 9 where position = 3", "versions", "version 9 follows 2"),
        ("update {events} set stream = 'account-9' where position = 3", "versions", "version 3 follows 0"),
        ("update {events} set payload = 'oops' where position = 3", "payloads", "its payload is not JSON"),
        ("update {events} set metadata = '{{' where position = 3", "payloads", "its metadata cannot be read"),
        ("update {events} set tags = null where position = 3", "tags", "'customer:7' for it, which it does not carry"),
        ("delete from {event_tags} where position = 3", "tags", "its tag 'customer:7' is not in the index"),
    ],
)
async def test_a_change_in_the_log_is_named(
    change: str, check: str, finding: str, store: EventStore, tamperer: Tamperer
) -> None:
    for position in range(1, 6):
        await append(store, "account-1", deposit(tags=("customer:7",) if position == 3 else ()))
    tamperer.remove_guards()
    tamperer.remove_keys()
    tamperer.run(change)
    found = broken(await verify(store, None, None))
    assert finding in said(found[check])


@ON_DISK
async def test_an_append_of_which_a_part_is_gone_is_named(store: EventStore, tamperer: Tamperer) -> None:
    await append(store, "account-1", deposit(), deposit(), deposit())
    await append(store, "account-1", deposit())
    tamperer.remove_guards()
    tamperer.run("delete from {events} where position = 2")
    found = broken(await verify(store, None, None))
    assert "event 2 of append" in said(found["appends"])
    assert set(found) >= {"positions", "versions", "appends", "guards"}


@ON_DISK
async def test_missing_guards_are_named(store: EventStore, tamperer: Tamperer) -> None:
    assert (await verify(store, None, None)).ok
    tamperer.remove_guards()
    found = broken(await verify(store, None, None))
    assert set(found) == {"guards"}
    assert "it is gone" in said(found["guards"])


@pytest.mark.parametrize("store", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_guards_that_are_switched_off_are_named(store: EventStore, tamperer: Tamperer) -> None:
    tamperer.run("alter table {events} disable trigger events_are_immutable")
    tamperer.run("alter table {event_tags} enable trigger event_tags_are_immutable")
    found = said(broken(await verify(store, None, None))["guards"])
    assert "trigger events_are_immutable: it is disabled" in found
    assert "trigger event_tags_are_immutable: it is not always enabled" in found


async def test_an_app_must_be_able_to_read_the_log(store: EventStore) -> None:
    await append(store, "account-1", deposit(), deposit(b'{"amount":"a lot"}'), deposit(b"{}"))
    await append(store, "account-1", NewEvent(type="MoneyBurnt", payload=b"{}"))
    assert (await verify(store, None, None)).ok
    found = broken(await verify(store, None, bank))
    assert set(found) == {"payloads"}
    assert found["payloads"].broken == 3
    assert "position 2 (account-1, version 2, MoneyDeposited)" in said(found["payloads"])
    assert "position 4 (account-1, version 4, MoneyBurnt): no event class of the app is named 'MoneyBurnt'" in said(
        found["payloads"]
    )


async def test_findings_are_counted_but_not_all_kept() -> None:
    store = MemoryStore()
    for _ in range(30):
        await append(store, "account-1", deposit(b"[]"))
    payloads = broken(await verify(store, None, bank))["payloads"]
    assert payloads.broken == 30
    assert len(payloads.findings) == 20


@ON_DISK
async def test_a_log_with_a_gap_is_not_exported(store: EventStore, tamperer: Tamperer) -> None:
    for _ in range(5):
        await append(store, "account-1", deposit())
    tamperer.remove_guards()
    tamperer.run("delete from {events} where position = 3")
    with pytest.raises(StoreCorrupt, match="position 3 is missing"):
        async for _ in export_lines(store):
            pass


@pytest.fixture
async def snapshot(store: EventStore) -> Callable[..., Snapshot]:
    """A store with a stream of five events; makes the right snapshot of the first three, or a wrong one."""
    events = [AccountOpened(owner="alice"), *(MoneyDeposited(amount=amount) for amount in map(Decimal, (1, 2, 3, 4)))]
    await append(store, "account-1", *(bank.types.prepare(event)[0] for event in events))
    third = (await store.read_stream("account-1", after=2, limit=1))[0]

    def make(**changed: object) -> Snapshot:
        right = {
            "stream": "account-1",
            "version": 3,
            "position": third.position,
            "append_id": third.append_id,
            "fingerprint": next(iter(bank.aggregates.values())).fingerprint,
            "data": b'{"owner":"alice","balance":"3","closed":false}',
        }
        return Snapshot(**{**right, **changed})  # type: ignore[arg-type]  # a test says what it changes

    return make


async def test_a_right_snapshot_is_sound(store: EventStore, snapshot: Callable[..., Snapshot]) -> None:
    await store.save_snapshot(snapshot())
    report = await verify(store, None, bank)
    assert report.ok, broken(report)
    assert {check.name: check.looked_at for check in report.checks}["snapshots"] == 1


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"data": b'{"owner":"alice","balance":"4","closed":false}'}, "it differs from the fold in balance"),
        ({"data": b'{"owner":"alice","balance":'}, "it cannot be read"),
        ({"version": 9}, "it is ahead of the log: the stream ends at version 5"),
        ({"position": 99}, "it was folded from another history"),
        ({"append_id": bytes(16)}, "it was folded from another history"),
        ({"stream": "account-2"}, "it is ahead of the log: the stream ends at version 0"),
    ],
)
async def test_a_wrong_snapshot_is_named(
    changed: dict[str, object], finding: str, store: EventStore, snapshot: Callable[..., Snapshot]
) -> None:
    await store.save_snapshot(snapshot(**changed))
    found = broken(await verify(store, None, bank))
    assert set(found) == {"snapshots"}
    assert finding in said(found["snapshots"])


async def test_a_snapshot_of_an_older_definition_is_passed_over(
    store: EventStore, snapshot: Callable[..., Snapshot]
) -> None:
    await store.save_snapshot(snapshot(fingerprint="older", data=b"{}"))
    assert (await verify(store, None, bank)).ok


async def test_verifying_goes_part_by_part_when_there_is_much_to_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.operations.verify.parts._LIMIT", 7)
    store = MemoryStore()
    await fill(store, 300)
    report = await verify(store, None, None)
    versions = next(check for check in report.checks if check.name == "versions")
    assert versions.ok
    assert versions.looked_at == report.head
    event = store._log[100]
    store._log[100] = msgspec.structs.replace(event, version=event.version + 1)
    versions = next(check for check in (await verify(store, None, None)).checks if check.name == "versions")
    assert versions.broken == 2
    assert f"position {event.position} " in said(versions)
