"""Whether a history of millions of jobs slows what is done with the next one."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import repeat

import psycopg
from psycopg import sql

from models import jobs
from models.money.hours import COUNTED
from models.platform.db import Database
from tests.bench import client
from tests.bench.figures import Figure
from tests.bench.ground import Darkroom, Ground
from tests.bench.rows.submitting import submissions

_ROUNDS, _CONNECTIONS = 2, 8
# Requests of one burst, and bursts of one kind in a round: what only reads, and leaves no job, goes on
# until the quickest burst is the same from run to run.
_BURST, _TIMES, _READS = 80, 5, 20
_SMALL = 10_000
_SLOTS = 64
_RELEASES = 5  # of one burst; each is rolled back
_FLOW = {
    "DARKROOM_GENERATE_SLOTS": _SLOTS,
    "DARKROOM_PROVIDER_LIMIT": _SLOTS,
    "DARKROOM_PROVIDER_LIMIT_FLOOR": _SLOTS,
    "DARKROOM_GRACE": 1,
}
_NAMES = {
    "submit": "POST /v1/jobs",
    "poll": "GET /v1/jobs/{id}",
    "list": "GET /v1/jobs",
    "usage": "GET /v1/usage, 12 hours",
    "release": f"release of {_SLOTS}",
    "end": "first call to last webhook",
}

# Every row by itself is as the arrows leave it, four weeks of them: nothing is due to be removed. Of 20
# jobs one has failed, one was canceled, one expired. The ids of a job's rows are alike.
_HISTORY = """
    CREATE UNLOGGED TABLE history AS
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0')
                || '7' || left(noise, 3) || '8' || right(noise, 15) AS uuid) AS id,
           n, at, at + interval '45 seconds' AS ended_at,
           projects[1 + n % cardinality(projects)] AS project_id,
           keys[1 + n % cardinality(keys)] AS key_id,
           CASE n % 20 WHEN 0 THEN 'failed' WHEN 1 THEN 'canceled' WHEN 2 THEN 'expired'
                ELSE 'succeeded' END AS status
      FROM (SELECT array_agg(project_id ORDER BY id) AS projects, array_agg(id ORDER BY id) AS keys
              FROM api_keys WHERE project_id IS NOT NULL) owners,
           generate_series(1, {jobs}) n,
           LATERAL (SELECT now() - interval '{ago}' - interval '28 days'
                           + n * (interval '28 days' / {jobs}) AS at,
                           md5(n::text) AS noise) made
"""
_ROWS = {
    "jobs": """
        (id, project_id, key_id, created_at, status, phase, version, fence, attempt, counted, worker,
         run_after, rank, started_at, finished_at, keep_until, model, input, input_hash, priority,
         tags, metadata, customer, webhook_url, queue_expires_at, max_attempts, max_cost,
         on_unknown_charge, idempotency_route, idempotency_key, fingerprint, estimate, charged,
         cancel_requested_at, cancel_outcome, error)
        SELECT id, project_id, key_id, at, status,
               CASE status WHEN 'succeeded' THEN 'keep' ELSE 'call' END,
               CASE status WHEN 'succeeded' THEN 4 WHEN 'failed' THEN 3 ELSE 2 END,
               called, called, called, CASE called WHEN 1 THEN 'worker-1' END, at,
               at - interval '2 hours', CASE called WHEN 1 THEN at + interval '1 second' END, ended_at,
               CASE status WHEN 'succeeded' THEN ended_at + interval '1 hour' END,
               'bytedance/seedream-5-0-lite-preview',
               jsonb_build_object('model', 'bytedance/seedream-5-0-lite-preview',
                                  'prompt', 'a red bicycle, number ' || n),
               sha256(n::text::bytea), 'standard', ARRAY['catalog', 'shop-' || n % 50],
               jsonb_build_object('order', 'A-' || n), 'c_' || n % 1000, 'https://example.com/hooks',
               at + interval '1 day', 5, 182000, 'retry', 'submit', 'order-' || n,
               sha256(id::text::bytea), 91000, CASE status WHEN 'succeeded' THEN 91000 ELSE 0 END,
               CASE status WHEN 'canceled' THEN ended_at END,
               CASE status WHEN 'canceled' THEN 'prevented' END,
               CASE status WHEN 'failed' THEN
                    '{"code": "invalid_input", "message": "no", "retryable": false, "details": null}'
                    ::jsonb END
          FROM history, LATERAL (
               SELECT CASE WHEN status IN ('succeeded', 'failed') THEN 1 ELSE 0 END AS called) c""",
    "attempts": """
        (id, job_id, number, start_id, worker, client_request_id, key_prefix, sent_at, finished_at,
         outcome, hold, charge, credits, charged_at, http_status, inference_id, provider_url)
        SELECT id, id, 1, id, 'worker-1',
               'job_' || left(replace(id::text, '-', ''), 12) || right(id::text, 15) || ':1',
               'simulato', at + interval '1 second', ended_at,
               CASE status WHEN 'succeeded' THEN 'image' ELSE 'refused' END, 91000,
               CASE status WHEN 'succeeded' THEN 'settled' ELSE 'none' END,
               CASE status WHEN 'succeeded' THEN 91000 END,
               CASE status WHEN 'succeeded' THEN ended_at END,
               CASE status WHEN 'succeeded' THEN 200 ELSE 400 END, 'inf-' || md5(n::text),
               CASE status WHEN 'succeeded' THEN 'https://cdn.example/' || id || '.jpg' END
          FROM history WHERE status IN ('succeeded', 'failed')""",
    "ledger": """
        (at, project_id, key_id, customer, job_id, attempt, kind, credits, inference_id)
        SELECT CASE kind WHEN 'hold' THEN at ELSE ended_at END, project_id, key_id, 'c_' || n % 1000,
               id, 1, kind, credits, CASE kind WHEN 'charge' THEN 'inf-' || md5(n::text) END
          FROM history, (VALUES ('hold', 91000), ('release', -91000), ('charge', 91000))
                        AS entries (kind, credits)
         WHERE kind <> 'charge' OR status = 'succeeded'""",
    "images": """
        (job_id, attempt, spare, sha256, bytes, width, height, content_type, provider_url, thumbnail,
         kept_at, expires_at)
        SELECT id, 1, false, encode(sha256(id::text::bytea), 'hex'), 315998, 2048, 2048, 'image/jpeg',
               'https://cdn.example/' || id || '.jpg', 'made', ended_at, ended_at + interval '30 days'
          FROM history WHERE status = 'succeeded'""",
    "events": """
        (id, project_id, job_id, type, sequence, body, created_at)
        SELECT id, project_id, id, 'job.' || status,
               CASE status WHEN 'succeeded' THEN 4 WHEN 'failed' THEN 3 ELSE 2 END,
               convert_to('{"type": "job.' || status || '", "data": {"is": "'
                          || repeat(md5(n::text), 35) || '"}}', 'UTF8'), ended_at
          FROM history""",
    "deliveries": """
        (id, project_id, event_id, job_id, url, lane, state, tries, next_at, created_at, finished_at)
        SELECT id, project_id, id, id, 'https://example.com/hooks',
               project_id || ':https://example.com:443', 'delivered', 1, NULL, ended_at,
               ended_at + interval '80 milliseconds'
          FROM history""",
    "delivery_tries": """
        (delivery_id, number, at, http_status, latency_ms, result)
        SELECT id, 1, ended_at, 204, 35, 'delivered' FROM history""",
    "usage_hours": """
        (project_id, hour, key_id, model, customer, submitted, succeeded, failed, canceled, expired,
         attempts, charged)
        SELECT project_id, hour, key_id, 'bytedance/seedream-5-0-lite-preview', customer, submitted,
               succeeded, failed, canceled, expired, attempts, charged
          FROM (SELECT project_id, date_trunc('hour', moment, 'UTC') AS hour, key_id,
                       'c_' || n % 1000 AS customer,
                       count(*) FILTER (WHERE what = 'submitted') AS submitted,
                       count(*) FILTER (WHERE what = 'succeeded') AS succeeded,
                       count(*) FILTER (WHERE what = 'failed') AS failed,
                       count(*) FILTER (WHERE what = 'canceled') AS canceled,
                       count(*) FILTER (WHERE what = 'expired') AS expired,
                       count(*) FILTER (WHERE what = 'called') AS attempts,
                       91000 * count(*) FILTER (WHERE what = 'succeeded') AS charged, min(n) AS n
                  FROM history, LATERAL (VALUES
                       ('submitted', at), (status, ended_at),
                       (CASE WHEN status IN ('succeeded', 'failed') THEN 'called' END,
                        at + interval '1 second')) happened (what, moment)
                 WHERE what IS NOT NULL AND moment < date_trunc('hour', now(), 'UTC')
                 GROUP BY project_id, 2, key_id, 4) hours""",
}
_FOLDED = """
    INSERT INTO duties (name, done_at) VALUES ('fold', date_trunc('hour', now(), 'UTC'))
    ON CONFLICT (name) DO UPDATE SET done_at = excluded.done_at
"""
# As the trigger on `usage_hours` does, which a replica's session does not run.
_TOTALS = f"""
    INSERT INTO usage_totals (project_id, hour, key_id, model, {", ".join(COUNTED)})
    SELECT project_id, hour, key_id, model, {", ".join(f"sum({each})" for each in COUNTED)}
      FROM usage_hours GROUP BY 1, 2, 3, 4 ORDER BY 1, 2
"""  # noqa: S608 - constants
# Those that no constraint stands on: to make them afterwards costs a tenth of keeping them.
_INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
     WHERE indrelid = %s::regclass
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""
# Foreign keys hold by construction; a replica does not ask for each row.
_SESSION = """
    SET session_replication_role = replica; SET synchronous_commit = off;
    SET maintenance_work_mem = '512MB'; SET max_parallel_maintenance_workers = 0
"""


async def measure(ground: Ground) -> list[Figure]:
    """Ask the same of a small and of a great history, in turns; the best of each counts."""
    great = 5_000_000 if ground.full else 100_000
    best: dict[str, list[float]] = {}
    with ground.database() as one, ground.database() as other:
        async with (
            ground.darkroom(one, **_FLOW) as small,
            ground.darkroom(other, **_FLOW) as large,
        ):
            sides = small, large
            for side, finished in zip(sides, (_SMALL, great), strict=True):
                await asyncio.to_thread(fill, side.database, finished)
                await side.start("api")
            for turn in range(_ROUNDS + 1):
                found = await _round(sides, ground)
                for what, seconds in found.items() if turn else ():  # the first one warms up
                    so_far = best.get(what, seconds)
                    best[what] = [min(each) for each in zip(so_far, seconds, strict=True)]
    return [
        Figure(f"growth: {_NAMES[what]}, {great:,} jobs", f"with {_SMALL:,}", many / few, 1.2, "less",
               raw=f"{1000 * many:.3g} ms : {1000 * few:.3g} ms")
        for what, (few, many) in best.items()
    ]  # fmt: skip


def fill(
    database: str, finished: int, ago: str = "1 day", *, tables: Collection[str] = tuple(_ROWS)
) -> None:
    """Write so many jobs that have ended, the last one so long `ago`, with what of them is in `tables`.

    `database` is its URL; they are of the keys that are there. Two connections, for two tables at a time,
    the greatest first.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_HISTORY.format(jobs=finished, ago=ago).encode())
        connection.execute(_FOLDED)  # first, or a dispatcher that runs folds what is folded here
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(partial(_fill, database), tables))
        connection.execute(_TOTALS)
        connection.execute("ANALYZE usage_totals")
        connection.execute("DROP TABLE history")
        connection.execute("CHECKPOINT")  # or it comes while something is measured


def _fill(database: str, table: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_SESSION)
        indexes = connection.execute(_INDEXES, (table,)).fetchall()
        for name, _ in indexes:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        connection.execute(f"INSERT INTO {table} {_ROWS[table]} ORDER BY n".encode())
        for _, definition in indexes:
            connection.execute(definition.encode())
        # Or what was inserted is counted only after the vacuum, and autovacuum comes for it once more.
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute(sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(sql.Identifier(table)))


async def _round(sides: Sequence[Darkroom], ground: Ground) -> dict[str, list[float]]:
    """Submit jobs, ask about them, and see them through; returns seconds for one of each, of each side.

    In short bursts by turns, of which the quickest counts: what else the machine does meets both sides.
    """
    found: dict[str, list[float]] = {}
    for what, once in _BURSTS.items():
        found[what] = [float("inf")] * len(sides)
        for _ in range(_READS if once in _READING else _TIMES):
            for at, side in enumerate(sides):
                found[what][at] = min(found[what][at], await once(side, ground))
    found["end"] = [await _end(side, ground) for side in sides]
    return found


async def _submit(side: Darkroom, ground: Ground) -> float:
    extra: dict[str, object] = {"webhook": {"url": ground.receiver.url}}
    load = await client.press(
        side.port, submissions(_BURST, side.headers, extra), connections=_CONNECTIONS
    )
    return 1 / load.demand(202).rate


async def _poll(side: Darkroom, _ground: Ground) -> float:
    newest = client.request("GET", "/v1/jobs?limit=1", headers=side.headers)
    load = await client.press(side.port, iter((newest,)), connections=1, keep=True)
    job_id = json.loads(load.demand(200).bodies[0])["data"][0]["id"]
    return await _ask(side, f"/v1/jobs/{job_id}", _BURST)


async def _list(side: Darkroom, _ground: Ground) -> float:
    return await _ask(side, "/v1/jobs?limit=20", _BURST)


async def _usage(side: Darkroom, _ground: Ground) -> float:
    lately = f"{datetime.now(UTC) - timedelta(hours=12):%Y-%m-%dT%H:%M:%SZ}"
    return await _ask(side, f"/v1/usage?group_by=day&from={lately}", _BURST // 8)


async def _ask(side: Darkroom, path: str, times: int) -> float:
    request = client.request("GET", path, headers=side.headers)
    load = await client.press(side.port, iter(repeat(request, times)), connections=_CONNECTIONS)
    return 1 / load.demand(200).rate


async def _dispatch(side: Darkroom, _ground: Ground) -> float:
    """Dispatch and roll back; returns the seconds of the quickest of a few."""
    database = Database(side.settings, ring=lambda _topic, _key: None, pool=1)
    times = []
    try:
        for _ in range(_RELEASES):
            with suppress(_TakenBack):
                async with database.transaction() as tx:
                    began = time.perf_counter()
                    found = await jobs.dispatch(
                        tx, _SLOTS, lease=timedelta(seconds=30), typical_call=timedelta(0)
                    )
                    times.append(time.perf_counter() - began)
                    if len(found) != _SLOTS:
                        raise RuntimeError(f"{len(found)} jobs were released, not {_SLOTS}")
                    raise _TakenBack
    finally:
        await database.close()
    return min(times)


# Each gives the seconds for one; "release" of what "submit" has brought.
_BURSTS: dict[str, Callable[[Darkroom, Ground], Awaitable[float]]] = {
    "submit": _submit, "poll": _poll, "list": _list, "usage": _usage, "release": _dispatch,
}  # fmt: skip
_READING = {_poll, _list, _usage}


async def _end(side: Darkroom, ground: Ground) -> float:
    """See all that waits through; returns seconds for each, from the first call to the last webhook."""
    n, began, told = _TIMES * _BURST, time.time(), len(ground.receiver.came)
    await side.start("worker", "dispatcher")
    await ground.receiver.until(told + n)
    first = f"SELECT extract(epoch FROM min(sent_at)) FROM attempts WHERE sent_at > to_timestamp({began})"  # noqa: S608
    seconds = ground.receiver.came[-1][0] - await asyncio.to_thread(side.number, first)
    for process in (*side.processes.pop("dispatcher"), *side.processes.pop("worker")):
        await asyncio.to_thread(process.end)
    return seconds / n


class _TakenBack(Exception):
    """Rolls back what was done only to be measured."""
