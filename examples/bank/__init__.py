"""A bank: accounts, their owners, what moves their balances, and the read models that its people look at."""
