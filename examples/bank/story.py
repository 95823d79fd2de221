"""The story of account 42: opened by alice, used, suspended for fraud-check; and what can be told of it afterwards."""

from datetime import datetime
from decimal import Decimal

import msgspec
from rich import box
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
    console.rule("The commands for account 42")
    for number, (actor, command) in enumerate(_STORY, start=1):
        receipt = await bank.execute(command, actor=actor, command_id=f"story of account 42, {number}")
        console.print(f"{in_words(command)} → version {receipt.version}", soft_wrap=True)

    console.rule("Its events")
    history = await bank.history("account-42")
    console.print(_events(history))

    console.rule("Its state, folded from the events")
    console.print(in_words(await bank.load(Account, "42")), soft_wrap=True)

    console.rule("A deposit while it is suspended")
    try:
        await bank.execute(DepositMoney(account_id="42", amount=Decimal(10)), actor="alice")
    except Rejected as rejected:
        console.print(f"refused: {rejected.reason}")

    console.rule("Its row in the read model")
    row = await bank.get(AccountSummary, "42", after=history[-1].position)
    assert row is not None
    console.print(in_words(row), soft_wrap=True)

    console.rule("Its balance as of a moment between two events")
    moment = _between(history[2], history[3])
    then = await bank.load(Account, "42", as_of=moment)
    console.print(f"at {moment:%H:%M:%S.%f}, after the deposits and before the withdrawal: {then.balance}")

    console.rule("The read model, rebuilt from the log")
    position = await bank.rebuild(AccountSummary)
    rebuilt = await bank.get(AccountSummary, "42")
    said = "the same row" if rebuilt == row else f"ANOTHER ROW: {rebuilt}"
    console.print(f"its table was folded anew from all {position:,} events: {said}")


def in_words(struct: msgspec.Struct) -> str:
    """`MoneyDeposited(amount=100)`: the fields that say something, as people write them."""
    fields = {name: getattr(struct, name) for name in struct.__struct_fields__}
    said = [f"{name}={value}" for name, value in fields.items() if value not in (None, (), False)]
    return f"{type(struct).__name__}({', '.join(said)})"


def _between(earlier: Recorded[Event], later: Recorded[Event]) -> datetime:
    return earlier.timestamp + (later.timestamp - earlier.timestamp) / 2


def _events(history: list[Recorded[Event]]) -> Table:
    table = Table("#", "time", "event", "actor", box=box.SIMPLE)
    for recorded in history:
        time = f"{recorded.timestamp:%H:%M:%S.%f}"
        table.add_row(str(recorded.position), time, in_words(recorded.event), recorded.metadata.actor)
    return table
