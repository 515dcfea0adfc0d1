"""Whose turn it is: the statements that choose what is called for next, however long the backlog is.

Start-time fair queueing (Goyal, Vin, Cheng 1997) with equal weights. The virtual time V is one turn behind
whoever had most; a project that waits begins at its own turn, or at V if that is later, so idling earns no
credit. Its next jobs, by rank, would be its turns base + 1, base + 2, …; the smallest of all projects win.
So a waiting project is within one turn of all others, and one with a single job waits for a round at most.

A call lasts for most of a minute, so with turns alone a project that comes late would wait for the end of
another's call. So no project holds the last eighth of the places that the others have left, while another
one waits or has had a turn among the last `LATELY`: some are always free (as in `deliveries/waking.py`).

The first of each project and model is found by leaps over the index, and only the projects that win are
looked into: the work is that of the places that are free, and a leap for each project that waits.
"""

from sqlalchemy import text

from models.coordination import aside
from models.platform.db.statements import prepared
from models.provider import gates, pauses
from models.states import JOB_IN_FLIGHT, JOB_PAID, JOB_PARKED, JOB_READY, JOB_WAITS

KEPT = 8  # of so many places that the others have left a project leaves one free
LATELY = 1_000

_IN_TIME = "queue_expires_at > now() AND (deadline IS NULL OR deadline > now() + :typical_call)"
# Not what Postgres refused to dispatch; and what was the probe of a gate is not its probe again, while
# another waits.
_SOUND = f"jobs.id <> ALL ({aside.passed('release')})"
_FRESH = f"jobs.id <> ALL (CAST(:but_jobs AS uuid[])) AND {_SOUND}"
_DUE = f"run_after <= now() AND {_IN_TIME} AND {_FRESH}"
_OPEN = f"run_after IS NULL AND phase = 'call' AND {_IN_TIME} AND {_FRESH}"

# The projects that had a turn lately; each turn moves the greatest virtual time by one.
LATELY_SERVED = f"""
            SELECT project_id FROM turns
             WHERE turn > (SELECT max(turn) FROM turns) - {LATELY}"""  # noqa: S608 - as below

# One dispatch at a time: turns and caps are counted, and only rows can be locked. What waits comes and
# goes faster than its statistics, so the planner is told that the indexes are right; and those that give
# the order, for beside a great history it takes any backlog for a few rows, to be read whole and sorted.
TRUST_INDEXES = """
           set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true)"""
PREPARE = prepared(
    text(f"SELECT pg_advisory_xact_lock(hashtextextended('release', 0)), {TRUST_INDEXES}")
)

# What a job becomes when it is dispatched; one that is called for waits for nothing else any more.
_RELEASED = "status = 'released', fence = fence + 1, lease_until = now() + :lease"
_CALLED = f"{_RELEASED}, waiting_reason = 'queue', run_after = now()"
TRY = text(f"UPDATE jobs SET {_CALLED} WHERE id = :job AND status = 'queued'")  # noqa: S608 - ours

# What is paid waits for no turn, no cap and no gate: its image's URL dies.
_DUE_PAID = """run_after <= now()
           AND NOT EXISTS (SELECT FROM pauses WHERE scope = 'all')"""
_PAID = f"{JOB_PAID} AND {_DUE_PAID}"

# Longest due first.
_PAID_FIRST = f"SELECT id FROM jobs WHERE {_PAID} AND {_SOUND} ORDER BY run_after, id LIMIT :slots"  # noqa: S608 - ours
PAID_FIRST = prepared(text(_PAID_FIRST))
PAID = prepared(
    text(f"""
    WITH picked AS (
        {_PAID_FIRST} FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE jobs SET {_RELEASED}
      FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, jobs.fence, jobs.traceparent
""")  # noqa: S608 - every part is this file's own
)


# Whether anything waits: what is paid and due, and calls, due or not. Each is one look, however much waits.
PAID_WAIT = f"""EXISTS (
        SELECT FROM jobs WHERE {JOB_WAITS} AND phase = 'keep' AND {_DUE_PAID})"""
CALLS_WAIT = f"EXISTS (SELECT FROM jobs WHERE {JOB_WAITS} AND phase = 'call')"

# Ends with `chosen`: the calls whose turn it is.
_CHOOSE = f"""
    WITH RECURSIVE heads AS (
        (SELECT project_id, model, rank FROM jobs WHERE {JOB_READY}
          ORDER BY project_id, model, rank, id LIMIT 1)
         UNION ALL
        SELECT next.* FROM heads, LATERAL (
            SELECT project_id, model, rank FROM jobs
             WHERE {JOB_READY} AND (project_id, model) > (heads.project_id, heads.model)
             ORDER BY project_id, model, rank, id LIMIT 1) next
    ), parked AS (
        (SELECT project_id, concurrency_key, rank FROM jobs WHERE {JOB_PARKED}
          ORDER BY project_id, concurrency_key, rank, id LIMIT 1)
         UNION ALL
        SELECT next.* FROM parked, LATERAL (
            SELECT project_id, concurrency_key, rank FROM jobs
             WHERE {JOB_PARKED}
               AND (project_id, concurrency_key) > (parked.project_id, parked.concurrency_key)
             ORDER BY project_id, concurrency_key, rank, id LIMIT 1) next
    ), flight AS MATERIALIZED (
        SELECT project_id, concurrency_key, count(*) AS n FROM jobs WHERE {JOB_IN_FLIGHT} GROUP BY 1, 2
    ), paused AS MATERIALIZED (
{pauses.STOPPED}
    ), gated AS MATERIALIZED (
        SELECT project_id,
               bool_and(half_open_at IS NOT NULL AND probe_id IS NULL)::int AS room
          FROM gates WHERE project_id IS NOT NULL GROUP BY project_id
    ), lines AS (
        SELECT project_id, model, NULL AS concurrency_key, NULL AS room, rank
          FROM heads, paused WHERE model <> ALL (paused.models)
         UNION ALL
        SELECT parked.project_id, NULL, parked.concurrency_key, p.key_cap - coalesce(f.n, 0), rank
          FROM parked
          JOIN projects p ON p.id = parked.project_id
          LEFT JOIN flight f ON (f.project_id, f.concurrency_key)
                              = (parked.project_id, parked.concurrency_key)
         WHERE coalesce(f.n, 0) < p.key_cap
    ), waiting AS (
        SELECT project_id, min(rank) AS rank,
               array_agg(model) FILTER (WHERE model IS NOT NULL) AS models,
               array_agg(concurrency_key) FILTER (WHERE model IS NULL) AS keys,
               array_agg(room) FILTER (WHERE model IS NULL) AS rooms
          FROM lines GROUP BY project_id
    ), others AS MATERIALIZED (
        SELECT count(DISTINCT project_id) > 1 AS exist FROM (
            SELECT project_id FROM waiting UNION ALL {LATELY_SERVED}) lately
    ), standing AS MATERIALIZED (
        SELECT * FROM (
        SELECT w.*, p.key_cap, greatest(turns.turn, v.turn) AS base,
               least(:calls, p.cap - coalesce(busy.n, 0), gated.room, CASE WHEN others.exist
                     THEN mine.n - mine.n / {KEPT} - coalesce(busy.n, 0) END) AS room
          FROM waiting w
          JOIN projects p ON p.id = w.project_id
          LEFT JOIN turns ON turns.project_id = w.project_id
          LEFT JOIN (SELECT project_id, sum(n)::bigint AS n FROM flight GROUP BY 1) busy
                 ON busy.project_id = w.project_id
          LEFT JOIN gated ON gated.project_id = w.project_id,
               (SELECT coalesce(max(turn) - 1, 0) AS turn FROM turns) v, paused, others,
               LATERAL (SELECT :free + coalesce(busy.n, 0) AS n) mine  -- that the others have left
         WHERE (p.cap IS NULL OR coalesce(busy.n, 0) < p.cap)
           AND NOT paused.everything AND w.project_id::text <> ALL (paused.projects)
           AND coalesce(gated.room, 1) > 0
           AND w.project_id <> ALL (CAST(:but_projects AS uuid[]))
        ) each_one WHERE room > 0
    ), winners AS MATERIALIZED (
        SELECT ordered.* FROM (SELECT * FROM standing ORDER BY base, rank, project_id) ordered,
               LATERAL (
            (SELECT FROM unnest(ordered.models) AS line, LATERAL (
                SELECT FROM jobs
                 WHERE project_id = ordered.project_id AND model = line AND {JOB_READY} AND {_DUE}
                 ORDER BY rank, id LIMIT 1) found LIMIT 1)
             UNION ALL
            (SELECT FROM unnest(ordered.keys) AS line, LATERAL (
                SELECT FROM jobs, paused
                 WHERE project_id = ordered.project_id AND concurrency_key = line
                   AND {JOB_PARKED} AND {_OPEN} AND model <> ALL (paused.models)
                 ORDER BY rank, id LIMIT 1) found LIMIT 1)
             LIMIT 1) any_job
         ORDER BY base, rank, project_id LIMIT :calls
    ), share AS MATERIALIZED (
        -- All begin within one turn, so from its third on a job comes after the first of each other.
        SELECT greatest(2, :calls - count(*) + 1) AS n FROM winners
    ), candidates AS MATERIALIZED (
        SELECT w.project_id, w.base, w.room, w.key_cap, job.*
          FROM winners w, share, LATERAL (
            (SELECT found.* FROM unnest(w.models) AS line, LATERAL (
                SELECT id, rank, concurrency_key, model FROM jobs
                 WHERE project_id = w.project_id AND model = line AND {JOB_READY} AND {_DUE}
                 ORDER BY rank, id LIMIT share.n) found)
             UNION ALL
            (SELECT found.* FROM unnest(w.keys, w.rooms) AS line (key, room), LATERAL (
                SELECT id, rank, concurrency_key, NULL FROM jobs, paused
                 WHERE project_id = w.project_id AND concurrency_key = line.key
                   AND {JOB_PARKED} AND {_OPEN} AND model <> ALL (paused.models)
                 ORDER BY rank, id LIMIT least(line.room, share.n)) found)
             ORDER BY rank, id LIMIT share.n) job
    ), counted AS MATERIALIZED (
        SELECT c.*, c.concurrency_key IS NULL OR c.key_cap >= coalesce(f.n, 0) + row_number() OVER
                   (PARTITION BY c.project_id, c.concurrency_key ORDER BY c.rank, c.id) AS fits
          FROM candidates c
          LEFT JOIN flight f ON (f.project_id, f.concurrency_key) = (c.project_id, c.concurrency_key)
    ), chosen AS (
        SELECT id, project_id, base, rank, turn FROM (
            SELECT *, row_number() OVER (PARTITION BY project_id ORDER BY rank, id) AS turn
              FROM counted WHERE fits) own
         WHERE turn <= room ORDER BY base + turn, rank, id LIMIT :calls
    )"""  # noqa: S608 - every part is this file's own
CALLS_FIRST = prepared(text(f"{_CHOOSE} SELECT id FROM chosen"))  # noqa: S608 - ours
# Rows with an id are dispatched; the others name a project and model whose first jobs met a full key.
# A gate that has closed since the look may have given back the very job that is chosen: none is taken.
CALLS = prepared(
    text(f"""{_CHOOSE}, passage AS MATERIALIZED ({gates.PASSAGE}
    ), taken AS MATERIALIZED (
        SELECT jobs.id, chosen.project_id, chosen.base, chosen.base + chosen.turn AS turn, chosen.rank
          -- By their ids: written so that no index of all that waits looks as good.
          FROM chosen JOIN jobs ON jobs.id = chosen.id
         WHERE jobs.status || '' = 'queued'
           AND (SELECT :whatever OR probes IS NULL OR (probes AND :probing) FROM passage)
           FOR NO KEY UPDATE OF jobs SKIP LOCKED
    ), released AS (
        UPDATE jobs SET {_CALLED}
          FROM taken WHERE jobs.id = taken.id
        RETURNING jobs.id, jobs.fence, jobs.traceparent, taken.turn, taken.rank
    ), turned AS (
        INSERT INTO turns (project_id, turn)
        SELECT project_id, base + count(*) FROM taken GROUP BY project_id, base ORDER BY project_id
            ON CONFLICT (project_id) DO UPDATE SET turn = excluded.turn
    )
    SELECT id, fence, traceparent, turn, rank, gated, NULL::uuid AS project_id, NULL AS model
      FROM released, passage
     UNION ALL
    SELECT DISTINCT NULL::uuid, NULL::bigint, NULL, NULL::bigint, NULL::timestamptz, NULL::bool,
           project_id, model
      FROM counted WHERE NOT fits AND model IS NOT NULL
     ORDER BY turn, rank, id
""")  # noqa: S608 - every part is this file's own
)

# Those that met a full key leave the line, so that nobody passes them again at each turn.
PARK = prepared(
    text(f"""
    WITH full_keys AS MATERIALIZED (
        SELECT j.project_id, j.concurrency_key FROM jobs j JOIN projects p ON p.id = j.project_id
         WHERE {JOB_IN_FLIGHT} AND j.concurrency_key IS NOT NULL
         GROUP BY j.project_id, j.concurrency_key, p.key_cap HAVING count(*) >= p.key_cap
    ), met AS (
        SELECT first.id
          FROM unnest(CAST(:projects AS uuid[]), CAST(:models AS text[])) AS line (project_id, model),
               LATERAL (
            SELECT id, project_id, concurrency_key, run_after FROM jobs
             WHERE project_id = line.project_id AND model = line.model AND {JOB_READY}
             ORDER BY rank, id LIMIT :look_at) first
          JOIN full_keys USING (project_id, concurrency_key)
         WHERE first.run_after <= now()
    ), taken AS (
        SELECT id FROM jobs WHERE id IN (SELECT id FROM met) AND status = 'queued'
           FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE jobs SET run_after = NULL, waiting_reason = 'concurrency_key'
      FROM taken WHERE jobs.id = taken.id
    RETURNING jobs.id
""")  # noqa: S608 - every part is this file's own
)
