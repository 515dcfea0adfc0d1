"""How many webhooks one worker sends, beside what a bare loop sends, and with receivers that misbehave."""

import json
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import httpx

from tests.bench import client
from tests.bench.figures import Figure
from tests.bench.ground import PEERS, Darkroom, Ground, settings_of
from tests.bench.rows.submitting import submissions
from tests.e2e import hostile
from tests.e2e.hostile import Way

_ENDPOINTS = 12
_TROUBLE: tuple[Way, ...] = ("hang", "hang", "drip", "fail", "fail", "redirect")
_FLIGHT = 64  # of the bare loop: as many as a worker's places


async def measure(ground: Ground) -> list[Figure]:
    """Measure one worker's webhooks per second: as a share of a bare loop's, and with six bad receivers."""
    jobs = 400 if ground.full else 120
    ours = await _drained(ground, jobs)
    bare = await _bare(ground, jobs * _ENDPOINTS)
    beside = await _drained(ground, jobs, trouble=_TROUBLE)
    found = [
        Figure("webhooks per second, one worker", "a bare loop: aiohttp, HMAC, one UPDATE each",
               ours.rate / bare.rate, 0.5, "more",
               raw=f"{ours.said} : {bare.said}"),
        Figure("the same beside six endpoints that misbehave", "the same without them",
               beside.rate / ours.rate, 0.9, "more", raw=f"{beside.said} : {ours.said}"),
    ]  # fmt: skip
    if ground.before is not None:
        before = await _drained(replace(ground, root=ground.before), jobs)
        found.append(
            Figure("the same", f"the version in {ground.before.name}",
                   ours.rate / before.rate, 4.0, "more", raw=f"{ours.said} : {before.said}")
        )  # fmt: skip
    return found


class _Run:
    """So many webhooks in so many seconds, and the CPU that it took the sender."""

    def __init__(self, count: int, seconds: float, cpu: float) -> None:
        self.rate = count / seconds
        self.said = f"{self.rate:,.0f}/s ({1000 * cpu / count:.2f} ms of CPU each)"


async def _drained(ground: Ground, jobs: int, *, trouble: tuple[Way, ...] = ()) -> _Run:
    """Let events gather, and measure from the first receipt to the last of those that are well."""
    count = jobs * _ENDPOINTS
    with ground.database() as database, hostile.gathered() as crowd:
        async with ground.darkroom(
            database, "api",
            DARKROOM_ENDPOINTS_MAX=100, DARKROOM_WEBHOOK_RATE=1_000_000,
        ) as darkroom:  # fmt: skip
            darkroom.execute("INSERT INTO pauses (scope) VALUES ('all')")
            crowd.ways = {f"/{n}": way for n, way in enumerate(trouble)}
            urls = [f"{crowd.url}{path}" for path in crowd.ways]
            await _register(darkroom, [*urls, *[ground.receiver.url] * _ENDPOINTS])
            await _end_jobs(darkroom, jobs)
            await darkroom.start("worker")
            (worker,) = darkroom.processes["worker"]
            told, cpu = len(ground.receiver.came), worker.cpu
            await darkroom.start("dispatcher")
            seconds = await _received(ground, told, count)
            return _Run(count, seconds, worker.cpu - cpu)


async def _register(darkroom: Darkroom, urls: list[str]) -> None:
    async with httpx.AsyncClient(
        base_url=darkroom.url, headers=darkroom.headers, trust_env=False
    ) as http:
        for url in urls:
            made = await http.post("/v1/webhooks", json={"url": url, "events": ["job.canceled"]})
            made.raise_for_status()


async def _end_jobs(darkroom: Darkroom, jobs: int) -> None:
    made = await client.press(
        darkroom.port, submissions(jobs, darkroom.headers), connections=8, keep=True
    )
    ids = [json.loads(each)["id"] for each in made.demand(202).bodies]
    cancels = (
        client.request("POST", f"/v1/jobs/{each}/cancel", headers=darkroom.headers) for each in ids
    )
    (await client.press(darkroom.port, cancels, connections=8)).demand(200)


async def _bare(ground: Ground, count: int) -> _Run:
    async with AsyncExitStack() as stack:
        database = stack.enter_context(ground.database(None))
        folder = ground.folder / database.rpartition("/")[2]
        settings_of(ground, database, folder)
        told = len(ground.receiver.came)
        script = str(PEERS / "bare_sender.py")
        process = await stack.enter_async_context(
            ground.peer(script, str(count), str(_FLIGHT), folder=folder)
        )
        seconds = await _received(ground, told, count)
        return _Run(count, seconds, process.cpu)


async def _received(ground: Ground, told: int, count: int) -> float:
    await ground.receiver.until(told + 1)
    began = time.perf_counter()
    await ground.receiver.until(told + count)
    return time.perf_counter() - began
