"""Whether a history of millions of jobs slows what is done with the next one."""

import asyncio
import json
import time
from itertools import repeat

from tests.bench import client
from tests.bench.figures import Figure
from tests.bench.ground import Darkroom, Ground
from tests.bench.rows.submitting import submissions

_ROUNDS, _CONNECTIONS = 3, 8
_SMALL = 10_000

# A job that has succeeded long ago, with its attempt, ledger, image and event, as one would find them.
_FILL = """
    WITH owner AS (SELECT p.id AS project_id, k.id AS key_id FROM projects p
                     JOIN api_keys k ON k.project_id = p.id LIMIT 1),
    made AS (
        INSERT INTO jobs (id, project_id, key_id, created_at, status, version, fence, attempt, rank,
                          started_at, finished_at, model, input, input_hash, priority, tags, metadata,
                          customer, queue_expires_at, max_attempts, max_cost, on_unknown_charge,
                          estimate, charged, run_after)
        SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0')
                    || '7000' || '8' || right(md5(n::text), 15) AS uuid),
               project_id, key_id, at, 'succeeded', 3, 1, 1, at, at, at + interval '45 seconds',
               'bytedance/seedream-5-0-lite-preview',
               jsonb_build_object('model', 'bytedance/seedream-5-0-lite-preview',
                                  'prompt', 'a red bicycle, number ' || n),
               decode(md5(n::text), 'hex'), 'standard', ARRAY['catalog'],
               jsonb_build_object('order', 'A-' || n), 'c_' || n % 1000, at + interval '1 day', 5,
               182000, 'retry', 91000, 91000, at
          FROM owner, generate_series({first}, {last}) n,
               LATERAL (SELECT now() - interval '60 days' + n * interval '1 second' / 2) AS t (at)
        RETURNING id, project_id, key_id, customer, created_at
    ), tried AS (
        INSERT INTO attempts (id, job_id, number, start_id, worker, client_request_id, key_prefix,
                              sent_at, finished_at, outcome, hold, charge, credits, charged_at,
                              http_status, inference_id)
        SELECT gen_random_uuid(), id, 1, gen_random_uuid(), 'w', id || ':1', 'k', created_at,
               created_at + interval '45 seconds', 'image', 91000, 'settled', 91000, created_at, 200,
               md5(id::text) FROM made
    ), booked AS (
        INSERT INTO ledger (at, project_id, key_id, customer, job_id, attempt, kind, credits)
        SELECT created_at, project_id, key_id, customer, id, 1, kind, credits
          FROM made, (VALUES ('hold', 91000), ('release', -91000), ('charge', 91000))
                     AS k (kind, credits)
    ), kept AS (
        INSERT INTO images (job_id, attempt, spare, sha256, bytes, width, height, content_type,
                            thumbnail, kept_at, expires_at)
        SELECT id, 1, false, md5(id::text) || md5(id::text), 315998, 2048, 2048, 'image/jpeg', 'made',
               created_at, created_at + interval '90 days' FROM made
    )
    INSERT INTO events (id, project_id, job_id, type, sequence, body, created_at)
    SELECT gen_random_uuid(), project_id, id, 'job.succeeded', 3, 'cut', created_at FROM made
"""
_STEP = 50_000


async def measure(ground: Ground) -> list[Figure]:
    """Submit, release, poll and list on a small and on a great history, in turns."""
    great = 5_000_000 if ground.full else 200_000
    with ground.database() as one, ground.database() as other:
        async with (
            ground.darkroom(one, "api") as small,
            ground.darkroom(other, "api") as large,
        ):
            await _fill(small, _SMALL)
            await _fill(large, great)
            slower = await _compare(small, large, ground)
    named = {"submit": "POST /v1/jobs", "poll": "GET /v1/jobs/{id}", "list": "GET /v1/jobs",
             "usage": "GET /v1/usage (today)", "end": "released, made and told"}  # fmt: skip
    return [
        Figure(f"growth: {named[what]}, {great:,} jobs", f"with {_SMALL:,}", ratio, 1.2, "less")
        for what, ratio in slower.items()
    ]


async def _fill(darkroom: Darkroom, jobs: int) -> None:
    for first in range(1, jobs + 1, _STEP):
        last = min(first + _STEP - 1, jobs)
        statement = _FILL.format(first=first, last=last)
        await asyncio.to_thread(darkroom.execute, statement)
    for table in ("jobs", "attempts", "ledger", "images", "events"):
        await asyncio.to_thread(darkroom.execute, f"VACUUM (ANALYZE) {table}")


async def _compare(small: Darkroom, large: Darkroom, ground: Ground) -> dict[str, float]:
    best: dict[str, tuple[float, float]] = {}
    each = 2_000 if ground.full else 800
    for turn in range(_ROUNDS + 1):
        found = [
            await _press(darkroom, each if turn else each // 10) for darkroom in (small, large)
        ]
        for what in found[0]:
            old = best.get(what, (0.0, 0.0))
            if turn:
                best[what] = max(old[0], found[0][what]), max(old[1], found[1][what])
    rates = {what: few / many for what, (few, many) in best.items()}
    ends = [await _run(darkroom, ground, each // 4) for darkroom in (small, large)]
    return rates | {"end": ends[1] / ends[0]}


async def _press(darkroom: Darkroom, n: int) -> dict[str, float]:
    """Give requests per second for each question."""
    made = await client.press(
        darkroom.port, submissions(n, darkroom.headers), connections=_CONNECTIONS, keep=True
    )
    job_id = json.loads(made.demand(202).bodies[-1])["id"]
    rates = {"submit": made.rate}
    asked = {"poll": f"/v1/jobs/{job_id}", "list": "/v1/jobs?limit=20",
             "usage": "/v1/usage?group_by=day"}  # fmt: skip
    for what, path in asked.items():
        request = client.request("GET", path, headers=darkroom.headers)
        few = n if what == "poll" else n // 4 if what == "list" else max(n // 100, 3)
        load = await client.press(
            darkroom.port, iter(repeat(request, few)), connections=_CONNECTIONS
        )
        rates[what] = load.demand(200).rate
    return rates


async def _run(darkroom: Darkroom, ground: Ground, jobs: int) -> float:
    """Give the seconds in which what is queued gets done by one dispatcher and one worker."""
    darkroom.execute(
        "DELETE FROM ledger WHERE job_id IN (SELECT id FROM jobs WHERE status = 'queued')"
    )
    darkroom.execute("DELETE FROM jobs WHERE status = 'queued'")
    extra: dict[str, object] = {"webhook": {"url": ground.receiver.url}}
    load = await client.press(
        darkroom.port, submissions(jobs, darkroom.headers, extra), connections=_CONNECTIONS
    )
    load.demand(202)
    started = time.perf_counter()
    await darkroom.start("worker", "dispatcher")
    delivered = "SELECT least(count(*), {jobs}) FROM deliveries WHERE state = 'delivered'"
    await darkroom.until(delivered.format(jobs=jobs), jobs)
    return time.perf_counter() - started
