"""The quiet project: a job now and then, each told to a receiver that is well."""

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from tests.e2e.hostile import Crowd
from tests.e2e.stage import MODEL, eventually

# Seconds between two submissions: some ten calls under way, of fifty places. Who wants more of them than
# are kept free for whoever comes shares them with the other, and waits for the end of its calls.
_EVERY = 0.5
_PATIENCE = 120.0  # seconds until the last of them must have been told of


@dataclass(frozen=True)
class Figures:
    """What the project sees, in seconds, p95: of a POST, until a job starts, and until its end is told."""

    post: float
    start: float
    webhook: float


def work(client: httpx.Client, crowd: Crowd, jobs: int, path: str) -> Figures:
    """Have so many jobs made and told at this path of the crowd; fails when one is not told in time."""
    never, posts, made = threading.Event(), [], []
    for n in range(jobs):
        began = time.monotonic()
        answer = client.post(
            "/v1/jobs",
            json={
                "input": {"model": MODEL, "prompt": f"quiet {path} {n}"},
                "webhook": {"url": f"{crowd.url}{path}"},
            },
        )
        posts.append(time.monotonic() - began)
        assert answer.status_code == 202, answer.text
        made.append(str(answer.json()["id"]))
        never.wait(_EVERY)
    eventually(lambda: len(crowd.of(path)) >= jobs, "every job of the quiet is told", _PATIENCE)
    told = {hit.event.data.id: hit.at for hit in crowd.of(path)}
    shown = [client.get(f"/v1/jobs/{each}").json() for each in made]
    starts = [_seconds(each["started_at"]) - _seconds(each["created_at"]) for each in shown]
    lags = [told[each["id"]] - _seconds(each["finished_at"]) for each in shown]
    return Figures(_p95(posts), _p95(starts), _p95(lags))


def _seconds(written: str) -> float:
    return datetime.fromisoformat(written).astimezone(UTC).timestamp()


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]
