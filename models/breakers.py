"""Breakers: so many answers in a row that went wrong for one cause close the gate `provider_down`.

`errors` are answers that say that the provider is in trouble, and a provider that cannot be reached at
all; `lost` are answers that never came, each of which may have been paid. In a row means that no proper
answer lay between, by the time of the answers. A proper answer writes nothing here: the next failure
looks whether there was one.
"""

from typing import Literal
from uuid import UUID

from sqlalchemy import text

from models import gates, limits
from models.db import Transaction
from models.settings import Settings

Cause = Literal["errors", "lost"]

# The provider was there, read the request, and answered as it should, if not with an image.
PROPER = ("image", "refused", "parked")
# What was refused before it was sent (a reference is gone) has no status: nobody answered.
_DETAILS: dict[Cause, str] = {
    "errors": "The provider answered with errors, or could not be reached, {} times in a row.",
    "lost": "{} answers to paid calls in a row were lost.",
}


async def failed(
    tx: Transaction, settings: Settings, cause: Cause, job_id: UUID, number: int
) -> int:
    """Count a call that went wrong, after it was finished; gives how many did in a row, 0 if it is old.

    An old call says nothing: a later one has been answered properly by now. So what was sent before a
    gate was opened again does not close it again.
    """
    call = {
        "cause": cause, "job_id": job_id, "number": number, "proper": list(PROPER),
        "longest": limits.longest(settings),
    }  # fmt: skip
    failures = int(await tx.scalar(_COUNT, call) or 0)
    if failures >= _limit(settings, cause):
        await gates.close(tx, "provider_down", _DETAILS[cause].format(failures))
    return failures


async def counts(tx: Transaction) -> dict[str, int]:
    """Give how many answers in a row went wrong, by cause, as it was after the last one that did."""
    rows = await tx.execute(text("SELECT cause, failures FROM breakers"))
    return {row.cause: int(row.failures) for row in rows}


def _limit(settings: Settings, cause: Cause) -> int:
    return settings.breaker_errors if cause == "errors" else settings.breaker_lost


_COUNT = text("""
    INSERT INTO breakers AS b (cause, failures)
    SELECT :cause, 1 FROM attempts this
     WHERE this.job_id = :job_id AND this.number = :number
       AND NOT EXISTS (SELECT FROM attempts a
                        WHERE a.sent_at > this.sent_at AND a.outcome = ANY(:proper)
                          AND a.http_status IS NOT NULL)
    ON CONFLICT (cause) DO UPDATE SET last_at = now(), failures = 1 + CASE
      WHEN EXISTS (SELECT FROM attempts a WHERE a.sent_at > b.last_at - :longest
                      AND a.finished_at > b.last_at AND a.outcome = ANY(:proper)
                      AND a.http_status IS NOT NULL)
      THEN 0 ELSE b.failures END
    RETURNING failures
""")
