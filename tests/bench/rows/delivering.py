"""Webhooks under stress: with every generation slot busy, and beside an endpoint that is dead."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import httpx

from tests.bench import client
from tests.bench.figures import Figure
from tests.bench.ground import Darkroom, Ground
from tests.bench.rows.submitting import submissions

_SLOTS = 64
_PER_SECOND = 10  # jobs, in both measurements: the machine is never full of them


async def measure(ground: Ground) -> list[Figure]:
    """Measure job end → receipt: idle, with busy slots, and beside a dead endpoint."""
    jobs = 300 if ground.full else 60
    idle = await _pings(ground, jobs, busy=False)
    busy = await _pings(ground, jobs, busy=True)
    alive = await _hundred(ground, jobs, dead=False)
    beside = await _hundred(ground, jobs, dead=True)
    return [
        Figure("delivery p95, every generation slot busy", "the same when idle",
               busy / idle, 1.5, "less", raw=f"{1000 * busy:.0f} ms : {1000 * idle:.0f} ms"),
        Figure("delivery p95, one dead endpoint of 100", "the same without it",
               beside / alive, 1.2, "less", raw=f"{1000 * beside:.0f} ms : {1000 * alive:.0f} ms"),
    ]  # fmt: skip


async def _pings(ground: Ground, jobs: int, *, busy: bool) -> float:
    """Cancel queued jobs at a steady pace; returns the p95 from each end to its webhook, in seconds."""
    ground.configure(latency=600.0 if busy else 0.0)
    with ground.database() as database:
        async with ground.darkroom(
            database, "api", "dispatcher", "worker", DARKROOM_GENERATE_SLOTS=_SLOTS,
            DARKROOM_PROVIDER_LIMIT_FLOOR=_SLOTS, DARKROOM_PROVIDER_LIMIT=_SLOTS,
            DARKROOM_GRACE=1,
        ) as darkroom:  # fmt: skip
            if busy:
                filling = submissions(_SLOTS, darkroom.headers)
                (await client.press(darkroom.port, filling, connections=8)).demand(202)
                await darkroom.until("SELECT count(*) FROM jobs WHERE status = 'running'", _SLOTS)
            else:
                darkroom.execute("INSERT INTO pauses (scope) VALUES ('all')")
            late = await _end_jobs(ground, darkroom, jobs)
    ground.configure(latency=0.0)
    return late


async def _end_jobs(ground: Ground, darkroom: Darkroom, jobs: int) -> float:
    told = len(ground.receiver.came)
    body = {"webhook": {"url": ground.receiver.url, "events": ["job.canceled"]}}
    made = await client.press(
        darkroom.port, submissions(jobs, darkroom.headers, dict(body)), connections=8, keep=True
    )
    ids = [json.loads(each)["id"] for each in made.demand(202).bodies]
    cancels = (
        client.request("POST", f"/v1/jobs/{each}/cancel", headers=darkroom.headers) for each in ids
    )
    await client.pace(darkroom.port, cancels, per_second=_PER_SECOND, connections=8)
    await ground.receiver.until(told + jobs)
    return _p95(ground, told)


async def _hundred(ground: Ground, jobs: int, *, dead: bool) -> float:
    """Tell 100 endpoints of the ends of jobs; one may accept connections and never answer."""
    roles, most = ("api", "dispatcher", "worker"), {"DARKROOM_ENDPOINTS_MAX": 100}
    with ground.database() as database, _silent() as silent:
        async with ground.darkroom(database, *roles, **most) as darkroom:
            darkroom.execute("INSERT INTO pauses (scope) VALUES ('all')")
            events = ["job.canceled"]
            async with httpx.AsyncClient(
                base_url=darkroom.url, headers=darkroom.headers, trust_env=False
            ) as http:
                for n in range(100 if dead else 99):
                    url = silent if n == 99 else ground.receiver.url
                    made = await http.post("/v1/webhooks", json={"url": url, "events": events})
                    made.raise_for_status()
            told, few = len(ground.receiver.came), max(jobs // 10, 10)
            load = await client.press(
                darkroom.port, submissions(few, darkroom.headers), connections=4, keep=True
            )
            for each in load.demand(202).bodies:
                cancel = client.request(
                    "POST", f"/v1/jobs/{json.loads(each)['id']}/cancel", headers=darkroom.headers
                )
                (await client.press(darkroom.port, iter((cancel,)), connections=1)).demand(200)
                await asyncio.sleep(1.0)
            await ground.receiver.until(told + 99 * few)
    return _p95(ground, told)


@contextmanager
def _silent() -> Iterator[str]:
    """Take connections and say nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def _p95(ground: Ground, after: int) -> float:
    late = sorted(
        at - datetime.fromisoformat(json.loads(body)["data"]["finished_at"]).timestamp()
        for at, body in ground.receiver.came[after:]
    )
    if not late or late[0] < -1:
        raise RuntimeError(f"the clocks do not agree: {late[:1]} at {time.time():.0f}")
    return late[int(0.95 * len(late))]
