"""Quotes: what the provider's pricing route says that one image costs, and whether it can be.

A slip in a price list would refuse every budget, or let a hard one through a thousand times. So a quote is
believed up to ten times as dear as one thing that is known, and down to half as dear, for what is held too
little is spent beyond a budget: the catalog's price, the quote before, or what settled charges have taught.
Beyond that it is told and changes nothing, until three charges agree with it. And whatever is known, no
image costs less than $0.0005 or more than $10.
"""

from collections.abc import Sequence

import structlog
from prometheus_client import Counter
from sqlalchemy import case, func, null, or_, select
from sqlalchemy.dialects.postgresql import insert

from models.money.prices.learning import NO_WITNESS
from models.money.prices.tariffs import PLAUSIBLE, defaulted
from models.platform.db import Transaction
from models.provider import catalog
from models.provider.rates import Variant
from models.schema import Price

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_DEARER, _CHEAPER = 10, 2  # times
_DOUBTED = Counter(
    "darkroom_quotes_doubted",
    "Prices that the provider's pricing route told and that were too far off to be believed",
    ["model"],
)
for _model in catalog.models():
    _DOUBTED.labels(_model.id)  # a series from the start: the first of them is an increase too


async def quote(
    tx: Transaction, model_id: str, credits_: int, variants: Sequence[Variant] = ()
) -> bool:
    """Write the price that the provider's pricing route tells; return whether it changes the present one.

    Of `variants`, prices by input, `credits_` is the dearest, and by it they are believed. Also when it
    says what it said before: whatever charges have taught meanwhile they must teach again. A price of
    nothing is more likely a hole in a price list than a present, and is not believed either.
    """
    row = await tx.scalar(select(Price).where(Price.model == model_id))
    told = [each.credits for each in variants]
    if not _believable(credits_, _known(model_id, row)) or any(
        each not in PLAUSIBLE for each in told
    ):
        _DOUBTED.labels(model_id).inc()
        log.error("price.quote_doubted", model=model_id, credits=credits_)
        return False
    rows = [each.dump() for each in defaulted(model_id, variants)] or null()
    news = or_(Price.quoted.is_distinct_from(credits_), Price.variants.is_distinct_from(rows))
    written = {"credits": credits_, "quoted": credits_, "variants": rows}
    quoted = {**written, "taught": None, **NO_WITNESS}
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


def _known(model_id: str, row: Price | None) -> list[int]:
    """Return what is known of a model's price, but for what an older release should not have believed."""
    model = catalog.find(model_id)
    listed = None if model is None else model.price
    told = (None, None) if row is None else (row.quoted, row.taught)
    return [each for each in (listed, *told) if each is not None and each in PLAUSIBLE]


def _believable(credits_: int, known: list[int]) -> bool:
    near = [each for each in known if each <= credits_ * _CHEAPER and credits_ <= each * _DEARER]
    return credits_ in PLAUSIBLE and bool(near or not known)
