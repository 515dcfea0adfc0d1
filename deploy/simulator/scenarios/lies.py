"""Lies: what a call's answer, its row in the log and the account's ledger may say differently.

Each is added to a play, `[sim: reset_after_charge+no_client_id]`, and several go together. The account's
ledger (`money.Wallet`) is what was really moved; a lie about money moves it there.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Lie:
    """One row of the table; `number` is what `name=NUMBER` is by default, None when it takes none."""

    name: str
    says: str
    number: float | None = None


_ROWS = (
    Lie("charged", "the ledger charges the call, whatever it was answered"),
    Lie("free", "the ledger never charges the call, whatever it was answered"),
    Lie("told", "the answer tells so many credits", 1),
    Lie("logged_failed", "the log says that it failed, at no cost"),
    Lie("failed_first", "the log says so for the given seconds, and then the truth", 60),
    Lie("failed_with_cost", "the log says that it failed, and what it cost"),
    Lie("no_client_id", "the log has lost the client's id"),
    Lie("odd_row", "the log's row has a status that is not published"),
    Lie("twice", "the ledger charges the call twice"),
    Lie("refunded", "the ledger refunds all of it, after the given seconds", 0),
    Lie("adjusted", "the ledger adds an adjustment of so many credits", 9_000),
)
TABLE: Mapping[str, Lie] = {row.name: row for row in _ROWS}


def charged(lies: Mapping[str, float], honest: bool) -> bool:  # noqa: FBT001 - what the scenario says
    """Return whether the ledger charges a call, whatever its scenario says."""
    return (honest or "charged" in lies) and "free" not in lies


def told(lies: Mapping[str, float], price: int) -> int:
    """Return the credits that the answer tells."""
    return int(lies.get("told", price))
