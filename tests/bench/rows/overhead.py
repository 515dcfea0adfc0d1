"""What Darkroom adds, idle: from submission to the provider's call, and from its answer to the webhook."""

import asyncio
import json
import time
from datetime import datetime

import httpx

from tests.bench.figures import Figure
from tests.bench.ground import INPUT, Ground

_PAUSE = 0.15  # seconds between two jobs: each meets an idle system


async def measure(ground: Ground) -> list[Figure]:
    """Submit one job after the other, and read the clocks of simulator and receiver."""
    jobs = 300 if ground.full else 80
    ground.configure(latency=0.05)
    with ground.database() as database:
        async with ground.darkroom(database, "api", "dispatcher", "worker") as darkroom:
            seen, told = len(ground.calls()), len(ground.receiver.came)
            submitted: dict[str, float] = {}
            async with httpx.AsyncClient(
                base_url=darkroom.url, headers=darkroom.headers, trust_env=False
            ) as http:
                body = {"input": INPUT, "webhook": {"url": ground.receiver.url}}
                for n in range(jobs + 5):
                    started = time.time()
                    made = (await http.post("/v1/jobs", json=body)).json()["id"]
                    await ground.receiver.told_of(made)
                    if n >= 5:  # the first ones find nothing warm
                        submitted[made] = started
                    await asyncio.sleep(_PAUSE)
            calls = ground.calls(seen)
    came = {json.loads(body)["data"]["id"]: at for at, body in ground.receiver.came[told:]}
    until_call, until_told = [], []
    for call in calls:
        job_id = str(call["client_request_id"]).partition(":")[0]
        if job_id in submitted:
            until_call.append(1000 * (_unix(call["received_at"]) - submitted[job_id]))
            until_told.append(1000 * (came[job_id] - _unix(call["answered_at"])))
    ground.configure(latency=0.0)
    return [
        Figure("submit → provider's call, idle, p50", "", _at(until_call, 0.5), 25, "less", " ms"),
        Figure("submit → provider's call, idle, p99", "", _at(until_call, 0.99), 100, "less", " ms"),
        Figure("answer → webhook, idle, p50", "", _at(until_told, 0.5), 50, "less", " ms"),
        Figure("answer → webhook, idle, p99", "", _at(until_told, 0.99), 250, "less", " ms"),
    ]  # fmt: skip


def _unix(moment: object) -> float:
    return datetime.fromisoformat(str(moment)).timestamp()


def _at(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
