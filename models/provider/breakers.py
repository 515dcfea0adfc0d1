"""Breakers: so many answers in a row that went wrong for one cause close the gate `provider_down`.

`errors` are answers that say that the provider is in trouble, and a provider that cannot be reached at
all; `lost` are answers that never came, each of which may have been paid. In a row means: without a proper
answer in between, by the time of the answers. A proper answer writes nothing here: the next failure looks
for one.

The failures of several projects close the gate to all; one project counts for half of what that takes at
most. Failures that one project met alone, in a row of its own, close the gate to that project.
"""

from typing import Literal
from uuid import UUID

from sqlalchemy import text

from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.provider import gates, limits
from models.settings import Settings

Cause = Literal["errors", "lost"]

# The provider was there, read the request, and answered as it should, if not with an image.
PROPER = ("image", "refused", "parked")
# What was refused before it was sent (a reference is gone) has no status: nobody answered. And a 403 may be
# the edge's, which refuses a request whatever is behind it.
_PROPER = (
    "a.outcome = ANY(:proper) AND a.http_status IS NOT NULL "
    "AND NOT (a.outcome = 'refused' AND a.http_status = 403)"
)
_DETAILS: dict[Cause, str] = {
    "errors": "The provider answered with errors, or could not be reached, {} times in a row.",
    "lost": "{} answers to paid calls in a row were lost.",
}


async def failed(
    tx: Transaction, settings: Settings, cause: Cause, job_id: UUID, number: int
) -> int:
    """Count a call that went wrong, after it was finished; returns how many did in a row, 0 if it is old.

    An old call says nothing: a later one has been answered properly by now. So what was sent before a
    gate was opened again does not close it again.
    """
    call = {
        "cause": cause, "job_id": job_id, "number": number, "proper": list(PROPER),
        "longest": limits.longest(settings),
    }  # fmt: skip
    row = (await tx.execute(_COUNT, call)).one_or_none()
    own = (await tx.execute(_COUNT_OWN, call)).one_or_none()
    if own is not None and own.failures >= _limit(settings, cause):
        await gates.close(
            tx, "provider_down", _DETAILS[cause].format(own.failures), own.project_id, met_by=job_id
        )
    if row is None:
        return 0
    failures = int(row.failures)
    if failures >= _limit(settings, cause) and await _of_several(tx, settings, cause):
        await gates.close(tx, "provider_down", _DETAILS[cause].format(failures), met_by=job_id)
    return failures


async def counts(tx: Reader) -> dict[str, int]:
    """Return how many answers in a row went wrong, by cause, as it was after the last one that did."""
    return {row["cause"]: row["failures"] for row in await tx.read(_COUNTS, {})}


def _limit(settings: Settings, cause: Cause) -> int:
    return settings.breaker_errors if cause == "errors" else settings.breaker_lost


async def _of_several(tx: Transaction, settings: Settings, cause: Cause) -> bool:
    """Return whether the row of all is long enough when each project counts for half of it at most."""
    limit = _limit(settings, cause)
    shares = (await tx.execute(_SHARES, {"cause": cause, "half": (limit + 1) // 2})).one()
    return bool(shares.projects > 1 and shares.failures >= limit)


_COUNTS = prepared(text("SELECT cause, failures FROM breakers"))

_COUNT = text(f"""
    INSERT INTO breakers AS b (cause, failures)
    SELECT :cause, 1 FROM attempts this
     WHERE this.job_id = :job_id AND this.number = :number
       AND NOT EXISTS (SELECT FROM attempts a WHERE a.sent_at > this.sent_at AND {_PROPER})
    ON CONFLICT (cause) DO UPDATE SET (failures, since, last_at) = (
        SELECT CASE WHEN broken THEN 1 ELSE b.failures + 1 END,
               CASE WHEN broken THEN clock_timestamp() ELSE b.since END, now()
          FROM (SELECT EXISTS (SELECT FROM attempts a
                                WHERE a.sent_at > b.last_at - CAST(:longest AS interval)
                                  AND a.finished_at > b.last_at AND {_PROPER}) AS broken) proper)
    RETURNING failures
""")  # noqa: S608 - this file's own words

# Counted under the lock of the row of all, so that `since` is that row's.
_COUNT_OWN = text(f"""
    INSERT INTO project_breakers AS b (project_id, cause, failures, share, last_at)
    SELECT jobs.project_id, :cause, 1, 1, clock_timestamp()
      FROM attempts this JOIN jobs ON jobs.id = this.job_id
     WHERE this.job_id = :job_id AND this.number = :number
       AND NOT EXISTS (SELECT FROM attempts a JOIN jobs own ON own.id = a.job_id
                        WHERE a.sent_at > this.sent_at AND own.project_id = jobs.project_id
                          AND {_PROPER})
    ON CONFLICT (project_id, cause) DO UPDATE SET (failures, share, last_at) = (
        SELECT CASE WHEN broken THEN 1 ELSE b.failures + 1 END,
               CASE WHEN broken OR b.last_at < whole.since THEN 1 ELSE b.share + 1 END,
               clock_timestamp()
          FROM (SELECT b.last_at < now() - interval '30 min' OR EXISTS (
                    SELECT FROM attempts a JOIN jobs own ON own.id = a.job_id
                     WHERE a.sent_at > b.last_at - CAST(:longest AS interval)
                       AND a.finished_at > b.last_at
                       AND own.project_id = b.project_id AND {_PROPER}) AS broken) proper,
               (SELECT coalesce(max(since), '-infinity') AS since FROM breakers
                 WHERE cause = :cause) whole)
    RETURNING project_id, failures
""")  # noqa: S608 - this file's own words

_SHARES = text("""
    SELECT count(*) AS projects, coalesce(sum(least(share, :half)), 0) AS failures
      FROM project_breakers p JOIN breakers b USING (cause)
     WHERE cause = :cause AND p.last_at >= b.since
""")
