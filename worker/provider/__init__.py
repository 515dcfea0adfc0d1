"""AIML API: a request in, an outcome value out.

`Provider` makes the paid call; `Provider.account` asks for logs, transactions, balance and prices;
`read` is the one table by which an answer is understood.
"""

from worker.provider.account import Account, AccountRefused, AccountUnavailable
from worker.provider.account.pages import LogPage, LogRow, OddRow, TransactionPage, TransactionRow
from worker.provider.account.pricing import Quote
from worker.provider.client import Provider
from worker.provider.reading import read

__all__ = [
    "Account",
    "AccountRefused",
    "AccountUnavailable",
    "LogPage",
    "LogRow",
    "OddRow",
    "Provider",
    "Quote",
    "TransactionPage",
    "TransactionRow",
    "credits",
    "outcomes",
    "read",
]
