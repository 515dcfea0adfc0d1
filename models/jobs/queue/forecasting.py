"""Where a job stands in its line, and when it may start at the pace of the last minutes.

Counts stop at a bound, and are read from the indexes in order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from models.platform import jsonable
from models.platform.db import Transaction
from models.platform.jsonable import Json
from models.provider import catalog
from models.schema import Job
from models.settings import Settings
from models.states import JOB_PARKED, JOB_READY

_COUNTED = 10_000  # jobs ahead, or projects that wait: beyond it the answer says "at least"
_LATEST = timedelta(days=365)  # a forecast beyond is none

# What waits comes and goes faster than its statistics: the planner is told that the indexes are right, and
# that they have the order. Until the end of the transaction.
PREPARE = text(
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)"
)


@dataclass(frozen=True, slots=True)
class Position:
    """How many jobs of its project go first, and how many projects have jobs that wait."""

    ahead: int
    projects: int

    @property
    def at_least(self) -> bool:
        """Whether there are more than were counted."""
        return self.ahead >= _COUNTED

    def show(self) -> Json:
        """Show it as JSON."""
        return {
            "in_project": self.ahead,
            "at_least": self.at_least,
            "projects_waiting": self.projects,
        }


async def position(tx: Transaction, job: Job, *, parked: bool) -> Position:
    """Find a job's place: before those of its project with a later rank, whatever their model.

    `parked`: it waits for its `concurrency_key`, in that key's own line.
    """
    if job.status == "released":
        return Position(0, await _projects(tx))
    asked = {
        "project": job.project_id, "key": job.concurrency_key, "rank": job.rank, "id": job.id,
        "models": [model.id for model in catalog.models()], "most": _COUNTED,
    }  # fmt: skip
    ahead = await tx.scalar(_AHEAD_OF_KEY if parked else _AHEAD, asked)
    return Position(int(ahead or 0), await _projects(tx))


async def start(
    tx: Transaction, settings: Settings, job: Job, now: datetime, place: Position, free: int
) -> tuple[Json | None, str | None]:
    """Forecast when a job starts: earliest and latest, or None and why nobody can say.

    Earliest if every place that comes free is its project's, latest if the project has only its share.
    """
    due = max(now, job.run_after or now)
    if job.status == "released" or place.ahead < free // max(place.projects, 1):
        return _range(due, due + settings.lease_release)
    pace = (await tx.execute(_PACE, {"project": job.project_id})).one()
    if not pace.calls:
        return None, "no call was sent in the last five minutes"
    all_ = pace.calls / max(float(pace.seconds), settings.tick.total_seconds())
    share = all_ / max(place.projects, 1)
    own = min(share, all_ * pace.own / pace.shown) or share
    seconds = place.ahead / all_, (place.ahead + 1) / own
    if seconds[1] > _LATEST.total_seconds():
        return None, "at the pace of the last five minutes it would take more than a year"
    earliest = max(due, now + timedelta(seconds=seconds[0]))
    latest = None if place.at_least else max(due, now + timedelta(seconds=seconds[1]))
    return _range(earliest, latest)


async def typical_seconds(tx: Transaction) -> float | None:
    """Return the median duration of the calls of the last five minutes that made an image, or None."""
    median = await tx.scalar(_TYPICAL)
    return None if median is None else float(median)


def _range(earliest: datetime, latest: datetime | None) -> tuple[Json, None]:
    return {"earliest": jsonable.time(earliest), "latest": jsonable.time(latest)}, None


async def _projects(tx: Transaction) -> int:
    return int(await tx.scalar(_PROJECTS, {"most": _COUNTED}) or 0)


_QUEUED = "status = 'queued' AND run_after IS NOT NULL"  # in phase `keep` too

_AHEAD = text(f"""
    SELECT count(*) FROM (
        SELECT FROM unnest(CAST(:models AS text[])) AS line, LATERAL (
            SELECT FROM jobs
             WHERE project_id = :project AND model = line AND {JOB_READY}
               AND (rank, id) < (:rank, :id)
             ORDER BY rank, id LIMIT :most) first
         LIMIT :most) ahead
""")  # noqa: S608 - every part is this file's own

_AHEAD_OF_KEY = text(f"""
    SELECT count(*) FROM (
        SELECT FROM jobs
         WHERE project_id = :project AND concurrency_key = :key AND {JOB_PARKED}
           AND (rank, id) < (:rank, :id)
         ORDER BY rank, id LIMIT :most) ahead
""")  # noqa: S608 - a constant of ours

# By leaps over the index: one look for each project that waits, whatever it has waiting.
_PROJECTS = text(f"""
    WITH RECURSIVE heads AS (
        (SELECT project_id FROM jobs WHERE {_QUEUED} ORDER BY project_id LIMIT 1)
         UNION ALL
        SELECT next.project_id FROM heads, LATERAL (
            SELECT project_id FROM jobs WHERE {_QUEUED} AND project_id > heads.project_id
             ORDER BY project_id LIMIT 1) next
    )
    SELECT count(*) FROM (SELECT FROM heads LIMIT :most) counted
""")  # noqa: S608 - every part is this file's own

_LATELY = "a.sent_at > now() - interval '5 minutes'"

# A refused call (429) started nothing. The share of a project is read off a thousand calls, each job by
# its id: a join would read all that wait.
_PACE = text(f"""
    WITH lately AS MATERIALIZED (
        SELECT job_id, sent_at FROM attempts a
         WHERE {_LATELY} AND http_status IS DISTINCT FROM 429
    )
    SELECT calls, seconds, own, shown
      FROM (SELECT count(*) AS calls, extract(epoch FROM now() - min(sent_at)) AS seconds
              FROM lately) total,
           (SELECT count(*) AS shown, count(*) FILTER (
                       WHERE (SELECT project_id FROM jobs WHERE id = job_id) = :project) AS own
              FROM (SELECT job_id FROM lately LIMIT 1000) few) share
""")  # noqa: S608 - every part is this file's own

_TYPICAL = text(f"""
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - sent_at))
      FROM attempts a WHERE {_LATELY} AND outcome = 'image'
""")  # noqa: S608 - every part is this file's own
