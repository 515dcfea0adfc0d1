"""Prices: what one image of a model costs at present, in credits.

The published price is what the provider's pricing route quotes, and until it does the catalog's. A hold is
never less. What an answer tells is believed at once when it is what was held, what charges have taught, or
within a tenth of the published price: that is rounding, or a small change. Anything else, and 0, may be a
mistake in writing: then the charge is unknown until the provider's log or ledger settles it, and an honest
new price settles there.

Settled charges teach a price when three of three jobs agree, with no other between them that differed from
its hold. One alone may be an accident, and so may all of one job's; each is booked as it was settled
whatever the price is, so waiting for three costs nothing. Three answers that agree can move the price by a
tenth at most, for only the provider's own books settle more. The next quote replaces what was taught.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.errors import FieldError
from models.platform.db import Database, Transaction
from models.platform.db.statements import Reader, prepared
from models.provider import catalog
from models.provider.catalog import Model
from models.schema import Attempt, Price

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BELIEVED = 5.0  # seconds: what a hold may be behind a new price
_LATELY = timedelta(hours=1)
_AGREE = 3  # jobs whose settled charges must be the same
_CLOSE = 10  # a told price may differ from the published one by a tenth of it
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
UNPRICED = "the provider quotes no one price for an image of it, and a hold must not be a guess."
_NO_WITNESS: dict[str, object] = {"candidate": None, "witnesses": []}


@dataclass(frozen=True, slots=True)
class Drift:
    """How a model's charges of the last hour differ from what was held for them.

    `credits` is charged less held: positive when the provider takes more.
    """

    model: str
    attempts: int
    credits: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model's price: what the provider publishes, and what its charges have taught."""

    published: int
    taught: int | None = None

    @property
    def present(self) -> int:
        """What is held for a call."""
        return max(self.published, self.taught or 0)

    def believes(self, told: int, *, held: int) -> bool:
        """Judge whether an answer's own price may be booked before the provider's books confirm it."""
        close = abs(told - self.published) * _CLOSE <= self.published
        return told > 0 and (close or told in {held, self.taught})


class PriceList:
    """What attempts cost at present, as one process has learned within the last five seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read_at = float("-inf")
        self._learned: dict[str, int] = {}

    async def estimate(self, model: Model, given: Mapping[str, object]) -> int:
        """Return the credits that one attempt at this input should cost.

        Raises `Unavailable`, and `InvalidRequest` for a model whose price nobody has told.
        """
        learned = await self.learned()
        price = learned.get(model.id, catalog.estimate(model, given))
        if price is None:
            raise catalog.refusal([unpriced(model)])
        return price

    async def learned(self) -> dict[str, int]:
        """Return the prices that were told or taught, by model; raises `Unavailable`."""
        if time.monotonic() - self._read_at >= _BELIEVED:
            async with self._database.transaction() as tx:
                self._learned = await _learned(tx)
            self._read_at = time.monotonic()
        return self._learned


def unpriced(model: Model) -> FieldError:
    """Say of the input's model that it cannot be called, for nobody has told its price."""
    return FieldError(f"{catalog.AT}/model", f"{model.id} cannot be called at present: {UNPRICED}")


async def known(tx: Transaction, model_id: str) -> Known:
    """Return what is known of a model's price."""
    row = await tx.scalar(select(Price).where(Price.model == model_id))
    return _known(model_id, row)


async def current(tx: Transaction, model_id: str) -> int | None:
    """Return the price that the provider has told or charges have taught; None while neither has."""
    row = await tx.scalar(select(Price).where(Price.model == model_id))
    return None if row is None or not _learnt(row) else _known(model_id, row).present


async def present(tx: Transaction) -> dict[str, int]:
    """Return the price of every model of the catalog that has one: as learned, else as published."""
    learned = await _learned(tx)
    prices = {model.id: learned.get(model.id, model.price) for model in catalog.models()}
    return {model: price for model, price in prices.items() if price is not None}


async def dearest(tx: Reader) -> int:
    """Return the price of the dearest model: a wallet that has less cannot pay for every job."""
    (row,) = await tx.read(_DEAREST, {"listed": listed()})
    return int(row["credits"])


def listed() -> dict[str, object]:
    """Return the catalog's own prices, None for none, for `PRESENT` and `DEAREST`."""
    return {model.id: model.price for model in catalog.models()}


async def quote(tx: Transaction, model_id: str, credits_: int) -> bool:
    """Write the price that the provider's pricing route tells; return whether it changes the present one.

    Also when it says what it said before: whatever charges have taught meanwhile they must teach again. A
    price of nothing is more likely a hole in a price list than a present: it is not believed.
    """
    if credits_ <= 0:
        return False
    news = Price.quoted.is_distinct_from(credits_)
    quoted = {"credits": credits_, "quoted": credits_, "taught": None, **_NO_WITNESS}
    changed = await tx.scalar(
        insert(Price)
        .values(model=model_id, **quoted)
        .on_conflict_do_update(
            index_elements=["model"],
            set_={**quoted, "updated_at": case((news, func.now()), else_=Price.updated_at)},
            where=or_(news, Price.credits != credits_, Price.taught.is_not(None)),
        )
        .returning(Price.model)
    )
    if changed is not None:
        log.info("price.quoted", model=model_id, credits=credits_)
    return changed is not None


async def observe(tx: Transaction, model_id: str, attempt: Attempt) -> bool:
    """Compare a settled charge with what was held for it; True when it has taught a price.

    Costs nothing while they agree. What was free is charged as free, but teaches no price; nor does a call
    that was sent before the price last changed. Call it last: the price's row must not be waited for.
    """
    charged = attempt.credits
    if charged is None or charged == attempt.hold:
        return False
    log.warning("price.drift", model=model_id, held=attempt.hold, charged=charged)
    if charged <= 0:
        return False
    await tx.execute(
        insert(Price)
        .values(model=model_id, credits=_listed(model_id, charged), updated_at=_NEVER)
        .on_conflict_do_nothing()
    )
    # Many calls settle at once: whoever meets another here leaves the word to it.
    row = await tx.scalar(
        select(Price)
        .where(Price.model == model_id, Price.updated_at < attempt.sent_at)
        .with_for_update(key_share=True, skip_locked=True),
    )
    return row is not None and await _testify(tx, row, attempt.job_id, charged)


async def _testify(tx: Transaction, row: Price, job_id: UUID, charged: int) -> bool:
    """Count one more job that was charged this much; with enough of them it is the price."""
    now = _known(row.model, row)
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
    await tx.execute(update(Price).where(Price.model == row.model).values(_NO_WITNESS | values))
    return taught


async def drifts(tx: Transaction) -> list[Drift]:
    """Return the models whose charges of the last hour differ from their holds."""
    since = ids.first_at(datetime.now(UTC) - _LATELY)
    rows = await tx.execute(_DRIFTS, {"since": since})
    return [Drift(row.model, int(row.attempts), int(row.credits)) for row in rows]


async def _learned(tx: Transaction) -> dict[str, int]:
    rows = await tx.scalars(select(Price))
    # What only charges have taught is no published price: it comes of calls that one had allowed.
    told = (row for row in rows if row.quoted is not None or _is_listed(row.model))
    return {row.model: _known(row.model, row).present for row in told}


def _known(model_id: str, row: Price | None) -> Known:
    if row is None:
        return Known(_listed(model_id, 0))
    published = _listed(model_id, row.credits) if row.quoted is None else row.quoted
    return Known(published, row.taught)


def _learnt(row: Price) -> bool:
    return row.quoted is not None or row.taught is not None


def _listed(model_id: str, otherwise: int) -> int:
    """Return the catalog's price; `otherwise` for a model that it has no more, or no price of."""
    model = catalog.find(model_id)
    return otherwise if model is None or model.price is None else model.price


def _is_listed(model_id: str) -> bool:
    model = catalog.find(model_id)
    return model is None or model.price is not None


# `Known.present` for a row of `jobs`, in a statement that is given `listed`.
PRESENT = """(
    SELECT greatest(coalesce(p.quoted, l.price), p.taught, 0)
      FROM (SELECT CAST(CAST(:listed AS jsonb) ->> jobs.model AS bigint) AS price) l
      LEFT JOIN prices p ON p.model = jobs.model
)"""

# The same of the dearest model of the catalog.
DEAREST = f"""(
    SELECT max({PRESENT}) FROM jsonb_object_keys(CAST(:listed AS jsonb)) AS jobs (model)
)"""  # noqa: S608 - ours

_DEAREST = prepared(text(f"SELECT {DEAREST} AS credits"))

# An attempt's id begins with its time, so this reads the last hour of the primary key.
_DRIFTS = text("""
    SELECT jobs.model, count(*) AS attempts, sum(attempts.credits - attempts.hold) AS credits
      FROM attempts JOIN jobs ON jobs.id = attempts.job_id
     WHERE attempts.id >= :since AND attempts.charge = 'settled'
       AND attempts.credits <> attempts.hold
     GROUP BY jobs.model ORDER BY jobs.model
""")
