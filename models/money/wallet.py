"""The wallet: our own balance at the provider, as it was last read, and how long it will last.

One row for all dispatchers. Its state changes under a lock, in the transaction that tells it, so each
change is told once, and only to the operator's project.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isinf
from typing import Literal

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.money import prices
from models.money.dollars import usd
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.platform.jsonable import Json, time
from models.schema import Project
from models.schema import Wallet as Row
from models.states import EventType
from models.webhooks import notices

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

State = Literal["ok", "low", "empty"]
_EVENTS: dict[State, EventType] = {
    "ok": "wallet.restored",
    "low": "wallet.low",
    "empty": "wallet.empty",
}
_HOUR = timedelta(hours=1)
_LAST = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)  # so in any time zone
_FRESH = timedelta(minutes=3)  # it is read every minute: an older balance says nothing
# Calls under way move the balance a little: a low wallet is restored only well above the line.
_RESTORED_PERCENT = 110


@dataclass(frozen=True, slots=True)
class Balance:
    """A balance in credits, the credits that went in the last hour, and whether its state is news."""

    credits: int
    state: State
    last_hour: int
    checked_at: datetime
    changed: bool = False

    @property
    def seconds_left(self) -> float:
        """How long it lasts at the rate of the last hour; infinite while nothing is spent."""
        if self.credits <= 0:
            return 0.0
        if self.last_hour <= 0:
            return float("inf")
        return self.credits / self.last_hour * _HOUR.total_seconds()

    @property
    def ends_at(self) -> datetime | None:
        """When it is empty at that rate, as far as a calendar goes; None while nothing is spent."""
        if isinf(self.seconds_left):
            return None
        left = _LAST - self.checked_at
        return self.checked_at + timedelta(seconds=min(self.seconds_left, left.total_seconds()))


async def note(tx: Transaction, credits_: int, *, low: int, operator: str | None) -> Balance:
    """Remember a balance as it was just read, and tell the operator's project when its state changes.

    `low` is the line in credits, `operator` the project's name. It is empty when it does not pay for one
    image of the dearest model.
    """
    await tx.execute(
        insert(Row).values(id=1, credits=credits_, state="ok").on_conflict_do_nothing()
    )
    before = await tx.scalar(select(Row.state).where(Row.id == 1).with_for_update())
    state = _judge(credits_, before, price=await prices.dearest(tx), low=low)
    moved = update(Row).where(Row.id == 1)
    moved = moved.values(credits=credits_, state=state, checked_at=func.now())
    at = (await tx.execute(moved.returning(Row.checked_at))).scalar_one()
    standing = Balance(credits_, state, await _last_hour(tx), at, changed=state != before)
    if standing.changed and operator is not None:
        await _tell(tx, operator, standing)
    return standing


async def read(tx: Reader) -> Balance | None:
    """Return the wallet as it was last read; None when it never was."""
    rows = await tx.read(_READ, {})
    if not rows:
        return None
    row, last_hour = rows[0], await _last_hour(tx)
    return Balance(row["credits"], _state(row["state"]), last_hour, row["checked_at"])


def show(found: Balance) -> Json:
    """Show a balance, and when it ends."""
    return {
        "credits": found.credits,
        "usd": usd(found.credits),
        "state": found.state,
        "last_hour_credits": found.last_hour,
        "ends_at": time(found.ends_at),
        "checked_at": time(found.checked_at),
    }


def times() -> dict[str, object]:
    """Return the parameters of `ROOM`."""
    return {"listed": prices.listed(), "fresh": _FRESH}


def _judge(credits_: int, before: str | None, *, price: int, low: int) -> State:
    if credits_ < price:
        return "empty"
    line = low if before == "ok" else low * _RESTORED_PERCENT // 100
    return "low" if credits_ < line else "ok"


def _state(word: str) -> State:
    return next(each for each in _EVENTS if each == word)


async def _last_hour(tx: Reader) -> int:
    """Sum the charges of the calls that began within the last hour.

    Not of the ledger's last hour: charges that were found out late would look like a rush.
    """
    since = ids.first_at(datetime.now(UTC) - _HOUR)
    (row,) = await tx.read(_LAST_HOUR, {"since": since})
    return int(row["credits"])


async def _tell(tx: Transaction, operator: str, standing: Balance) -> None:
    project_id = await tx.scalar(select(Project.id).where(Project.name == operator))
    if project_id is None:
        log.warning("wallet.no_project_to_tell", operator_project=operator, state=standing.state)
        return
    left = standing.seconds_left
    await notices.tell(
        tx,
        project_id,
        _EVENTS[standing.state],
        {
            "state": standing.state,
            "credits": standing.credits,
            "usd": usd(standing.credits),
            "last_hour_credits": standing.last_hour,
            "seconds_left": None if left == float("inf") else round(left),
        },
    )


# An attempt's id begins with its time, so this reads the last hour of the primary key.
_LAST_HOUR = prepared(
    text("""
    SELECT coalesce(sum(credits), 0) AS credits FROM attempts WHERE id >= :since AND charge = 'settled'
""")
)
_READ = prepared(text("SELECT credits, state, checked_at FROM wallet WHERE id = 1"))

# How many calls the balance pays for at once, at least one; NULL when it is not known. So a wallet that
# runs out refuses a few calls, and not all that the workers could take.
ROOM = f"""(
    SELECT greatest(1, credits / {prices.DEAREST})
      FROM wallet WHERE id = 1 AND checked_at > now() - :fresh
)"""  # noqa: S608 - a constant of ours
