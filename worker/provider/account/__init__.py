"""The account behind a key: its log, its ledger, its balance, and what its models cost.

Promises: a page that is odd in one row is read all the same, and the odd row is told.
Never makes a call that costs money.
"""

from worker.provider.account.asking import Account, AccountRefused, AccountUnavailable

__all__ = ["Account", "AccountRefused", "AccountUnavailable", "pages", "pricing"]
