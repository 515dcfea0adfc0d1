"""What a dispatch might do now, in one look: who waits, and how many may pass.

Slots of workers, the provider's limit, gates and the wallet each belong to their owner, which writes its
part of the statement and reads it. It costs the same whatever waits, and is asked at each ring: without a
transaction to learn whether there is anything to do, and under the claim for what holds then.
"""

from dataclasses import dataclass

from sqlalchemy import text

from models.coordination import workers
from models.coordination.workers import Capacity
from models.jobs.queue import sharing
from models.money import wallet
from models.platform.db.statements import Reader, Row, Writer, prepared
from models.provider import gates, limits
from models.provider.gates import Passage
from models.settings import Settings


@dataclass(frozen=True, slots=True)
class Outlook:
    """What there is to dispatch, due or not, and what binds a dispatch."""

    paid_wait: bool
    calls_wait: bool
    capacity: Capacity
    passage: Passage
    paid_for: int | None  # calls, by the balance; None when that is not known
    limit: Row

    @property
    def promising(self) -> bool:
        """Whether a dispatch is worth a transaction. A limit that is used up may be about to grow."""
        return (self.paid_wait or self.calls_wait) and self.capacity.slots > 0

    async def calls(self, tx: Writer, settings: Settings) -> int:
        """Return how many calls may be dispatched, as far as limit, wallet and gates let pass."""
        limit = await limits.grown(tx, settings, self.limit)
        within = self.capacity.within(limit if self.paid_for is None else min(self.paid_for, limit))
        return {"closed": 0, "probe": min(1, within), "open": within}[self.passage.way]


async def look(tx: Reader, settings: Settings) -> Outlook:
    """Read it once."""
    asked = {"seen": settings.worker_seen, **limits.times(settings), **wallet.times()}
    (row,) = await tx.read(_LOOK, asked)
    return Outlook(
        paid_wait=row["paid_wait"],
        calls_wait=row["calls_wait"],
        capacity=workers.told(row),
        passage=gates.told(row),
        paid_for=row["paid_for"],
        limit=row,
    )


_LOOK = prepared(
    text(f"""
    SELECT {sharing.PAID_WAIT} AS paid_wait, {sharing.CALLS_WAIT} AS calls_wait,
           {workers.CAPACITY}, {limits.STANDING}, passage.*, {wallet.ROOM} AS paid_for
      FROM ({workers.BUSY}) busy CROSS JOIN ({workers.SLOTS}) w CROSS JOIN ({gates.PASSAGE}) passage
      LEFT JOIN limits l ON l.id = 1
""")  # noqa: S608 - constants of ours
)
