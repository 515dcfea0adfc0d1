"""What counts in a report, and when: SQL that has a row, a fact, for each thing that happened.

Every fragment selects `project_id, moment, key_id, customer, model, tags, what, amount`; `what` is one of
the names of `usage.Sums`. It is about :projects and a time, whose name the names of its parameters end
with, so that one statement may be about several: from :lo_name up to and without :hi_name; what is found by
its id lies between :first_name and :last_name, and what is in the ledger was booked from :booked_name on.
`between` returns the values.
"""

from datetime import datetime

from models import ids
from models.states import JOB_IN_FLIGHT, unknown_charge

_CHARGES = """
    SELECT l.project_id, coalesce(l.made_at, l.at), l.key_id, l.customer, j.model, j.tags,
           'charged', l.credits
      FROM ledger l LEFT JOIN jobs j ON j.id = l.job_id
     WHERE l.project_id = ANY (:projects) AND l.kind NOT IN ('hold', 'release')
"""


def happened(time: str) -> str:
    """Select all that happened in a time."""
    return f"{_of_jobs(time)} UNION ALL {found_late(time)}"


def written(time: str) -> str:
    """Select all that was written down in a time, which nothing is added to later."""
    charges = f"{_CHARGES} AND l.at >= :lo_{time} AND l.at < :hi_{time}"
    return f"{_of_jobs(time)} UNION ALL {charges}"


def found_late(time: str) -> str:
    """Select the charges of a time, also those that were written down after its end."""
    # `made_at` has an index of its own, for few have it: what was written since a time may be nearly all.
    made = " OR ".join(
        f"{moment} >= :lo_{time} AND {moment} < :hi_{time}"
        for moment in ("l.made_at", "l.made_at IS NULL AND l.at")
    )
    return f"{_CHARGES} AND ({made}) AND l.at >= :booked_{time}"


def stands(time: str) -> str:
    """Select what is said of the present: what jobs of a time hold, and calls whose charge is unknown."""
    return f"""
    SELECT j.project_id, j.created_at, j.key_id, j.customer, j.model, j.tags, 'held', j.held
      FROM jobs j
     WHERE j.id = ANY (ARRAY (
           SELECT id FROM jobs WHERE project_id = ANY (:projects) AND status = 'queued'
           UNION ALL SELECT id FROM jobs WHERE {JOB_IN_FLIGHT}
           UNION ALL SELECT job_id FROM attempts WHERE charge = 'unknown'
           ))
       AND j.project_id = ANY (:projects) AND j.created_at >= :lo_{time} AND j.created_at < :hi_{time}
    UNION ALL
    SELECT j.project_id, a.sent_at, j.key_id, j.customer, j.model, j.tags, 'unknown', a.hold
      FROM attempts a JOIN jobs j ON j.id = a.job_id
     WHERE {unknown_charge("a")}
       AND j.project_id = ANY (:projects) AND a.sent_at >= :lo_{time} AND a.sent_at < :hi_{time}
"""  # noqa: S608 - constants of ours


def _of_jobs(time: str) -> str:
    return f"""
    SELECT j.project_id, j.created_at AS moment, j.key_id, j.customer, j.model, j.tags,
           fact.what, fact.amount
      FROM jobs j, LATERAL (VALUES ('submitted', 1), ('held', j.held)) fact (what, amount)
     WHERE j.project_id = ANY (:projects) AND j.created_at >= :lo_{time} AND j.created_at < :hi_{time}
       AND j.id >= :first_{time} AND j.id < :last_{time}
    UNION ALL
    SELECT j.project_id, j.finished_at, j.key_id, j.customer, j.model, j.tags, fact.what, fact.amount
      FROM jobs j, LATERAL (VALUES
           (j.status, 1), ('saved', CASE WHEN j.reused_from IS NOT NULL THEN j.estimate END)
           ) fact (what, amount)
     WHERE j.project_id = ANY (:projects) AND j.finished_at >= :lo_{time} AND j.finished_at < :hi_{time}
    UNION ALL
    SELECT j.project_id, a.sent_at, j.key_id, j.customer, j.model, j.tags, fact.what, fact.amount
      FROM attempts a JOIN jobs j ON j.id = a.job_id, LATERAL (VALUES
           ('attempts', 1),
           ('unknown', CASE WHEN {unknown_charge("a")} THEN a.hold END)
           ) fact (what, amount)
     WHERE j.project_id = ANY (:projects) AND a.sent_at >= :lo_{time} AND a.sent_at < :hi_{time}
"""  # noqa: S608 - constants of ours


def between(lo: datetime, hi: datetime, name: str) -> dict[str, object]:
    """Return the values of these names for a time."""
    booked = ids.sooner(lo)  # no charge is booked before it was made, but clocks differ
    values = {"lo": lo, "hi": hi, "booked": booked}
    bounds = {"first": ids.first_at(booked), "last": ids.first_at(ids.later(hi))}
    return {f"{each}_{name}": value for each, value in (values | bounds).items()}
