"""The bank with all its views. Where each lives is configuration: see `environment` of `examples.bank.demo_full`."""

from examples.bank.account import Account
from examples.bank.read_models import AccountSummary, DailyBalance
from examples.bank.views import Branch, HotBalance, MonthlyVolume, Movement, Payment
from refold import App

app = App(
    "bank",
    aggregates=[Account],
    read_models=[AccountSummary, DailyBalance, HotBalance, Movement, Payment, Branch, MonthlyVolume],
)
