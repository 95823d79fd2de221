"""The bank as one app. For the command line: `refold --app examples.bank.app:app --url sqlite:///bank.db …`."""

from examples.bank.account import Account
from examples.bank.read_models import AccountSummary, DailyBalance
from refold import App

app = App("bank", aggregates=[Account], read_models=[AccountSummary, DailyBalance])
