"""Charges on the provider's account that belong to none of our attempts.

Somebody else may use the account; or we have lost an attempt, which must never happen. They are counted
and shown, and block nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text

from models import ids
from models.db import Transaction
from models.schema import Attempt

_BEFORE = timedelta(seconds=60)  # the provider's clock and ours


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge as the account's ledger has it; `reference` is the inference id of its call."""

    reference: str
    credits: int
    at: datetime


async def unmatched(
    tx: Transaction, charges: Sequence[Charge], *, longest: timedelta
) -> list[Charge]:
    """Give those that belong to no attempt of ours, with certainty; `longest` is that of a call.

    A charge near an attempt whose answer was lost, inference id and all, may be that attempt's.
    """
    if not charges:
        return []
    rows = await tx.scalars(
        _UNMATCHED,
        {
            "references": [each.reference for each in charges],
            "moments": [each.at for each in charges],
            "since": ids.first_at(min(each.at for each in charges) - longest - _BEFORE),
            "before": _BEFORE,
            "longest": longest + _BEFORE,
        },
    )
    strange = set(rows)
    return [each for each in charges if each.reference in strange]


async def begun_at(tx: Transaction) -> datetime | None:
    """Give when our first call was made: what was charged before cannot be ours."""
    return await tx.scalar(select(Attempt.sent_at).order_by(Attempt.id).limit(1))


# An attempt's id begins with its time, so this reads the primary key from the first charge on.
_UNMATCHED = text("""
    WITH ours AS (
        SELECT inference_id FROM attempts WHERE id >= :since AND inference_id = ANY(:references)
    )
    SELECT c.reference
      FROM unnest(CAST(:references AS text[]), CAST(:moments AS timestamptz[])) AS c (reference, at)
     WHERE c.reference NOT IN (SELECT inference_id FROM ours)
       AND NOT EXISTS (
           SELECT FROM attempts
            WHERE charge = 'unknown' AND inference_id IS NULL
              AND sent_at BETWEEN c.at - CAST(:longest AS interval)
                              AND c.at + CAST(:before AS interval))
""")
