"""A busy application: `python -m tests.operations.busy URL`. It says `ready`, executes commands and keeps the read
models current until its standard input ends, and then says how many it executed and the longest time one took.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from decimal import Decimal

from tests.domain import CloseAccount, DepositMoney, OpenAccount, bank


async def _work(url: str) -> None:
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    chance = random.Random(1)
    number, longest = 0, 0.0
    async with bank.connect(url) as context:
        print("ready", flush=True)
        while not ended.done():
            number += 1
            account = str(chance.randrange(2_000))
            began = time.monotonic()
            opened = OpenAccount(account_id=f"{account}-{number}", owner="alice")
            deposits = [DepositMoney(account_id=account, amount=Decimal(1)) for _ in range(3)]
            await context.execute_many([opened, *deposits])
            if number % 5 == 0:
                await context.execute(CloseAccount(account_id=f"{account}-{number}"))
            longest = max(longest, time.monotonic() - began)
    print(number, longest, flush=True)


asyncio.run(_work(sys.argv[1]))
