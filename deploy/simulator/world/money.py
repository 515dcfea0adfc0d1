"""The pretend wallet: an append-only ledger in credits, and holds for the calls in flight.

A call's price is held when it begins, and either charged or rolled back, as the provider documents.
Holds are not written down: a simulator that died has rolled them back.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from deploy.simulator import clock
from deploy.simulator.config import usd
from deploy.simulator.journal import Journal, Json

TOPUP, CHARGE = "TOPUP", "CHARGE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of money; `credits` is positive, `direction` carries the sign."""

    number: int
    created_at: datetime
    direction: str
    type: str
    credits: int
    model: str | None = None
    reference_id: str | None = None

    @property
    def signed(self) -> int:
        """The credits, negative when money went out."""
        return self.credits if self.direction == TOPUP else -self.credits

    def view(self) -> dict[str, object]:
        """Show the entry as /v2/billing/transactions does."""
        return {
            "created_at": clock.text(self.created_at),
            "direction": self.direction,
            "type": self.type,
            "amount": {"usd": usd(self.credits), "credits": self.credits},
            "model": self.model,
            "reference_id": self.reference_id,
        }


class Wallet:
    """The account's money; `balance` is always the sum of `entries`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.entries: list[Entry] = []
        self.balance = 0
        self.held = 0

    @property
    def available(self) -> int:
        """What a new call may still hold."""
        return self.balance - self.held

    def hold(self, amount: int) -> bool:
        """Set the price of a call aside; False when the rest of the balance is too small."""
        if amount > self.available:
            return False
        self.held += amount
        return True

    def roll_back(self, amount: int) -> None:
        """Give a hold back."""
        self.held -= amount

    def charge(self, amount: int, model: str, inference_id: str) -> Entry:
        """Turn a hold into a charge."""
        self.held -= amount
        return self._book(CHARGE, "MODEL_USAGE", amount, model, inference_id)

    def correct(
        self, direction: str, kind: str, amount: int, model: str | None, reference_id: str | None
    ) -> Entry:
        """Move money that belongs to a call which was charged, or to nothing that has a handle."""
        return self._book(direction, kind, amount, model, reference_id)

    def move(self, amount: int, kind: str = "PAYMENT") -> Entry:
        """Bring money in, or take it out when `amount` is negative: then it is an ADJUSTMENT."""
        if amount < 0:
            return self._book(CHARGE, "ADJUSTMENT", -amount)
        return self._book(TOPUP, kind, amount)

    def restore(self, line: Json) -> Entry:
        """Take an entry back from the journal."""
        values = {name: value for name, value in line.items() if name != "kind"}
        values["created_at"] = datetime.fromisoformat(str(values["created_at"]))
        return self._take(Entry(**values))  # type: ignore[arg-type]  # our own line, written by _book

    def _book(
        self,
        direction: str,
        kind: str,
        amount: int,
        model: str | None = None,
        reference_id: str | None = None,
    ) -> Entry:
        number = len(self.entries) + 1
        entry = Entry(number, clock.now(), direction, kind, amount, model, reference_id)
        line = asdict(entry)
        self._journal.append("entry", {**line, "created_at": entry.created_at.isoformat()})
        return self._take(entry)

    def _take(self, entry: Entry) -> Entry:
        self.entries.append(entry)
        self.balance += entry.signed
        return entry
