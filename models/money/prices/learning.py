"""How prices are learned from charges that agree."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.money.prices.knowing import known
from models.money.prices.tariffs import PLAUSIBLE, listed_price, of_row
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.provider.rates import Known
from models.schema import Attempt, Price

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LATELY = timedelta(hours=1)
_AGREE = 3  # jobs whose settled charges must be the same
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
NO_WITNESS: dict[str, object] = {"candidate": None, "witnesses": []}


@dataclass(frozen=True, slots=True)
class Drift:
    """How a model's charges of the last hour differ from what was held for them.

    `credits` is charged less held: positive when the provider takes more.
    """

    model: str
    attempts: int
    credits: int


async def observe(tx: Transaction, model_id: str, attempt: Attempt) -> bool:
    """Compare a settled charge with what was held for it; True when it has taught a price.

    Costs nothing while they agree. What was free is charged as free, but teaches no price; nor does what no
    image costs, nor a call that was sent before the price last changed. Call it last: the price's row must
    not be waited for.
    """
    charged = attempt.credits
    if charged is None or charged == attempt.hold:
        return False
    if (await known(tx, model_id)).expects(charged):
        return False
    log.warning("price.drift", model=model_id, held=attempt.hold, charged=charged)
    if charged not in PLAUSIBLE:
        return False
    await tx.execute(
        insert(Price)
        .values(model=model_id, credits=listed_price(model_id, charged), updated_at=_NEVER)
        .on_conflict_do_nothing()
    )
    # Many calls settle at once: one that finds the row locked leaves the lesson to the other.
    row = await tx.scalar(
        select(Price)
        .where(Price.model == model_id, Price.updated_at < attempt.sent_at)
        .with_for_update(key_share=True, skip_locked=True),
    )
    return row is not None and await _testify(tx, row, attempt.job_id, charged)


async def _testify(tx: Transaction, row: Price, job_id: UUID, charged: int) -> bool:
    """Count one more job that was charged this much; with enough of them it is the price."""
    now = of_row(row.model, row)
    before = row.witnesses if row.candidate == charged else []
    agree = before if job_id in before else [*before, job_id]
    taught = charged != (now.taught or now.published) and len(agree) >= _AGREE
    if taught:
        learned = Known(now.published, charged)
        values = {"taught": charged, "credits": learned.present, "updated_at": func.now()}
        log.warning("price.learned", model=row.model, credits=charged, holds=learned.present)
    elif charged == (now.taught or now.published):
        values = {}
    else:
        values = {"candidate": charged, "witnesses": agree}
    await tx.execute(update(Price).where(Price.model == row.model).values(NO_WITNESS | values))
    return taught


async def drifts(tx: Reader) -> list[Drift]:
    """Return the models whose charges of the last hour differ from their holds."""
    since = ids.first_at(datetime.now(UTC) - _LATELY)
    rows = await tx.read(_DRIFTS, {"since": since})
    return [Drift(row["model"], row["attempts"], int(row["credits"])) for row in rows]


# An attempt's id begins with its time, so this reads the last hour of the primary key.
_DRIFTS = prepared(
    text("""
    SELECT jobs.model, count(*) AS attempts, sum(attempts.credits - attempts.hold) AS credits
      FROM attempts JOIN jobs ON jobs.id = attempts.job_id
     WHERE attempts.id >= :since AND attempts.charge = 'settled'
       AND attempts.credits <> attempts.hold
     GROUP BY jobs.model ORDER BY jobs.model
""")
)
