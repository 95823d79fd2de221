"""The story of account 42: opened by alice, used, suspended for fraud-check; and what can be told of it afterwards."""

from datetime import datetime
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from examples.bank.account import Account
from examples.bank.commands import DepositMoney, OpenAccount, SuspendAccount, WithdrawMoney
from examples.bank.read_models import AccountSummary
from refold import Command, Event, Recorded, Rejected
from refold.app import Context

_STORY: list[tuple[str, Command]] = [
    ("alice", OpenAccount(account_id="42", owner="alice")),
    ("alice", DepositMoney(account_id="42", amount=Decimal(100))),
    ("alice", DepositMoney(account_id="42", amount=Decimal(50))),
    ("alice", WithdrawMoney(account_id="42", amount=Decimal(30), person="alice")),
    ("fraud desk", SuspendAccount(account_id="42", reason="fraud-check")),
]


async def tell(bank: Context, console: Console) -> None:
    """Plays the story, once: the commands have ids, so that playing it again finds them done."""
    console.rule("The commands of account 42")
    for number, (actor, command) in enumerate(_STORY, start=1):
        receipt = await bank.execute(command, actor=actor, command_id=f"story of account 42, {number}")
        console.print(f"{actor}: {command}  →  version {receipt.version}")

    console.rule("Its events")
    history = await bank.history("account-42")
    console.print(_events(history))

    console.rule("Its state, folded from them")
    console.print(await bank.load(Account, "42"))

    console.rule("A deposit while it is suspended")
    try:
        await bank.execute(DepositMoney(account_id="42", amount=Decimal(10)), actor="alice")
    except Rejected as rejected:
        console.print(f"refused: {rejected.reason}")

    console.rule("The read model's row")
    row = await bank.get(AccountSummary, "42", after=history[-1].position)
    console.print(row)

    console.rule("Its balance at a moment in between")
    moment = _between(history[2], history[3])
    then = await bank.load(Account, "42", as_of=moment)
    console.print(f"at {moment:%H:%M:%S.%f}, before the withdrawal: {then.balance}")

    console.rule("The read model, rebuilt from the log")
    await bank.rebuild(AccountSummary)
    again = await bank.get(AccountSummary, "42")
    console.print(again, "the same row as before" if again == row else "ANOTHER ROW THAN BEFORE")


def _between(earlier: Recorded[Event], later: Recorded[Event]) -> datetime:
    return earlier.timestamp + (later.timestamp - earlier.timestamp) / 2


def _events(history: list[Recorded[Event]]) -> Table:
    table = Table("position", "version", "time", "event", "actor")
    for recorded in history:
        table.add_row(
            str(recorded.position),
            str(recorded.version),
            f"{recorded.timestamp:%Y-%m-%d %H:%M:%S.%f}",
            str(recorded.event),
            recorded.metadata.actor,
        )
    return table
