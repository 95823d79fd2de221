"""A full disk: the append fails in words, nothing is half there, and appending goes on when there is space."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from refold.errors import StoreFull
from refold.messages.recorded import NewEvent
from refold.store.append import ANY, Append, StreamAppend
from refold.testing.history import check_log
from tests.domain import AccountSummary, DepositMoney, bank
from tests.faults.checking import log_of
from tests.untested import skip_loudly


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        skip_loudly("a full disk", "only root may mount a small file system; run tests/faults as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_sqlite_on_a_full_disk(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 1_500_000)
    large = NewEvent(type="MoneyDeposited", payload=b'{"amount":"1","note":"' + b"x" * 20_000 + b'"}')
    acknowledged = 0
    async with bank.connect(f"sqlite:///{small_disk}/bank.db", projections=False) as context:
        with pytest.raises(StoreFull, match="nothing of this was stored"):
            for _ in range(1000):
                await context.store.append(Append((StreamAppend("account-1", ANY, (large,)),)))
                acknowledged += 1
        assert acknowledged > 0
        assert (await context.store.head()).position == acknowledged
        filler.unlink()
        await context.execute(DepositMoney(account_id="1", amount=Decimal(1)))
        log = await log_of(context.store)
        assert len(log) == acknowledged + 1
        assert check_log(log) == []
    async with bank.connect(f"sqlite:///{small_disk}/bank.db") as context:
        row = await context.get(AccountSummary, "1", after=acknowledged + 1)
        assert row is not None
        assert row.movements == acknowledged + 1
