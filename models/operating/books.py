"""Whether the books agree: with each other, with the account's at the provider, and prices with charges."""

from dataclasses import asdict
from datetime import timedelta

from sqlalchemy import func, select

from models.coordination import duties
from models.money import hours, prices, statement
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.provider import limits
from models.settings import Settings

_DAY = timedelta(days=1)


async def read(tx: Transaction, settings: Settings) -> Json:
    """Tell what the duty that compares them has found, and which charges of the last day are nobody's."""
    now = (await tx.execute(select(func.now()))).scalar_one()
    known = now - settings.log_lag - limits.longest(settings)
    unmatched = await statement.unmatched(tx, now - _DAY, known)
    checked_at, differences = await duties.noted(tx, duties.BOOKS)
    folded = await hours.age(tx)
    return {
        "checked_at": time(checked_at),
        "differences": differences,
        "charges_of_nobody": unmatched.get("MODEL_USAGE", 0),
        "price_drifts": [asdict(each) for each in await prices.drifts(tx)],
        "folded_age_seconds": None if folded is None else round(folded.total_seconds(), 3),
    }
