"""Prices: what one image of a model costs at present, in credits.

The catalog names a price to begin with; what the provider quotes and what it really charges correct it.
The last change wins: a quote that is repeated does not undo what a charge has taught since.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from models import catalog, ids
from models.catalog import Model
from models.db import Database, Transaction
from models.schema import Price

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BELIEVED = 5.0  # seconds: what a hold may be behind a new price
_LATELY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Drift:
    """How a model's charges of the last hour differ from what was held for them.

    `credits` is charged less held: positive when the provider takes more.
    """

    model: str
    attempts: int
    credits: int


class PriceList:
    """What attempts cost at present, as one process has learned within the last five seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read_at = float("-inf")
        self._learned: dict[str, int] = {}

    async def estimate(self, model: Model, given: Mapping[str, object]) -> int:
        """Give the credits that one attempt at this input should cost; raises `Unavailable`."""
        if time.monotonic() - self._read_at >= _BELIEVED:
            async with self._database.transaction() as tx:
                self._learned = await _learned(tx)
            self._read_at = time.monotonic()
        return self._learned.get(model.id, catalog.estimate(model, given))


async def current(tx: Transaction, model_id: str) -> int | None:
    """Give what was last learned of a model's price; None while nothing was."""
    return await tx.scalar(select(Price.credits).where(Price.model == model_id))


async def present(tx: Transaction) -> dict[str, int]:
    """Give the price of every model of the catalog: as learned, else as the catalog has it."""
    learned = await _learned(tx)
    return {model.id: learned.get(model.id, model.price) for model in catalog.models()}


async def dearest(tx: Transaction) -> int:
    """Give the price of the dearest model: a wallet that has less cannot pay for every job."""
    return max((await present(tx)).values())


async def quote(tx: Transaction, model_id: str, credits_: int) -> bool:
    """Note what the provider's pricing route says; True when it is news, and then it is the price.

    A price of nothing is more likely a hole in a price list than a present: it is not believed.
    """
    if credits_ <= 0:
        return False
    learned = await tx.scalar(
        insert(Price)
        .values(model=model_id, credits=credits_, quoted=credits_)
        .on_conflict_do_update(
            index_elements=["model"],
            set_={"credits": credits_, "quoted": credits_, "updated_at": func.now()},
            where=Price.quoted.is_distinct_from(credits_),
        )
        .returning(Price.model)
    )
    if learned is not None:
        log.info("price.quoted", model=model_id, credits=credits_)
    return learned is not None


async def observe(tx: Transaction, model_id: str, *, held: int, charged: int) -> bool:
    """Compare what a call cost with what was held for it; True when its price is news.

    Costs nothing while they agree. What was free is charged as free, but teaches no price.
    """
    if charged == held:
        return False
    log.warning("price.drift", model=model_id, held=held, charged=charged)
    if charged <= 0:
        return False
    learned = await tx.scalar(_OBSERVE, {"model": model_id, "credits": charged})
    if learned is not None:
        log.warning("price.learned", model=model_id, credits=charged)
    return learned is not None


async def drifts(tx: Transaction) -> list[Drift]:
    """Give the models whose charges of the last hour differ from their holds."""
    since = ids.first_at(datetime.now(UTC) - _LATELY)
    rows = await tx.execute(_DRIFTS, {"since": since})
    return [Drift(row.model, int(row.attempts), int(row.credits)) for row in rows]


async def _learned(tx: Transaction) -> dict[str, int]:
    rows = await tx.execute(select(Price.model, Price.credits))
    return {row.model: row.credits for row in rows}


# One statement, and no row is locked while the price is known: settling calls must not queue up here.
_OBSERVE = text("""
    INSERT INTO prices (model, credits)
    SELECT CAST(:model AS text), CAST(:credits AS bigint)
     WHERE NOT EXISTS (SELECT FROM prices WHERE model = :model AND credits = :credits)
    ON CONFLICT (model) DO UPDATE SET credits = excluded.credits, updated_at = now()
    RETURNING model
""")

# An attempt's id begins with its time, so this reads the last hour of the primary key.
_DRIFTS = text("""
    SELECT jobs.model, count(*) AS attempts, sum(attempts.credits - attempts.hold) AS credits
      FROM attempts JOIN jobs ON jobs.id = attempts.job_id
     WHERE attempts.id >= :since AND attempts.charge = 'settled'
       AND attempts.credits <> attempts.hold
     GROUP BY jobs.model ORDER BY jobs.model
""")
