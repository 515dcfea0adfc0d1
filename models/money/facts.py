"""What counts in a report, and when: SQL that gives each thing that happened as one row, a fact.

Every fragment selects `project_id, moment, key_id, customer, model, tags, what, amount`; `what` is one of
the names of `usage.Sums`. It is asked about :projects and the time from :lo up to and without :hi; what is
found by its id lies between :first and :last, and what is in the ledger was booked from :booked on.
"""

import re
from datetime import datetime

from models import ids
from models.states import JOB_IN_FLIGHT

_OF_JOBS = """
    SELECT j.project_id, j.created_at AS moment, j.key_id, j.customer, j.model, j.tags,
           fact.what, fact.amount
      FROM jobs j, LATERAL (VALUES ('submitted', 1), ('held', j.held)) fact (what, amount)
     WHERE j.project_id = ANY (:projects) AND j.created_at >= :lo AND j.created_at < :hi
       AND j.id >= :first AND j.id < :last
    UNION ALL
    SELECT j.project_id, j.finished_at, j.key_id, j.customer, j.model, j.tags, fact.what, fact.amount
      FROM jobs j, LATERAL (VALUES
           (j.status, 1), ('saved', CASE WHEN j.reused_from IS NOT NULL THEN j.estimate END)
           ) fact (what, amount)
     WHERE j.project_id = ANY (:projects) AND j.finished_at >= :lo AND j.finished_at < :hi
    UNION ALL
    SELECT j.project_id, a.sent_at, j.key_id, j.customer, j.model, j.tags, fact.what, fact.amount
      FROM attempts a JOIN jobs j ON j.id = a.job_id, LATERAL (VALUES
           ('attempts', 1),
           ('unknown', CASE WHEN a.charge = 'unknown' AND a.finished_at IS NOT NULL THEN a.hold END)
           ) fact (what, amount)
     WHERE j.project_id = ANY (:projects) AND a.sent_at >= :lo AND a.sent_at < :hi
"""
_CHARGES = """
    SELECT l.project_id, coalesce(l.made_at, l.at), l.key_id, l.customer, j.model, j.tags,
           'charged', l.credits
      FROM ledger l LEFT JOIN jobs j ON j.id = l.job_id
     WHERE l.project_id = ANY (:projects) AND l.kind NOT IN ('hold', 'release')
"""
_MADE = "coalesce(l.made_at, l.at) >= :lo AND coalesce(l.made_at, l.at) < :hi"

# All that happened in a time.
HAPPENED = f"{_OF_JOBS} UNION ALL {_CHARGES} AND {_MADE} AND l.at >= :booked"

# All that was written down in a time, which nothing is added to later.
WRITTEN = f"{_OF_JOBS} UNION ALL {_CHARGES} AND l.at >= :lo AND l.at < :hi"

# Charges of a time that were written down after its end, from :booked on.
FOUND_LATE = f"{_CHARGES} AND {_MADE} AND l.at >= :booked"

# What is said of the present: what jobs of a time hold, and calls of a time whose charge is unknown.
STANDS = f"""
    SELECT j.project_id, j.created_at, j.key_id, j.customer, j.model, j.tags, 'held', j.held
      FROM jobs j
     WHERE j.id = ANY (ARRAY (
           SELECT id FROM jobs WHERE project_id = ANY (:projects) AND status = 'queued'
           UNION ALL SELECT id FROM jobs WHERE {JOB_IN_FLIGHT}
           UNION ALL SELECT job_id FROM attempts WHERE charge = 'unknown'
           ))
       AND j.project_id = ANY (:projects) AND j.created_at >= :lo AND j.created_at < :hi
    UNION ALL
    SELECT j.project_id, a.sent_at, j.key_id, j.customer, j.model, j.tags, 'unknown', a.hold
      FROM attempts a JOIN jobs j ON j.id = a.job_id
     WHERE a.charge = 'unknown' AND a.finished_at IS NOT NULL
       AND j.project_id = ANY (:projects) AND a.sent_at >= :lo AND a.sent_at < :hi
"""  # noqa: S608 - a constant of ours

_NAMES = re.compile(r"(?<!:):(lo|hi|first|last|booked)\b")


def within(fragment: str, name: str) -> str:
    """Return a fragment whose parameters for its time are named for this one: `:lo` becomes `:lo_name`."""
    return _NAMES.sub(rf":\1_{name}", fragment)


def between(lo: datetime, hi: datetime, name: str) -> dict[str, object]:
    """Return the values of these names for a time."""
    booked = ids.sooner(lo)  # no charge is booked before it was made, but clocks differ
    values = {"lo": lo, "hi": hi, "booked": booked}
    bounds = {"first": ids.first_at(booked), "last": ids.first_at(ids.later(hi))}
    return {f"{each}_{name}": value for each, value in (values | bounds).items()}
