"""The quiet project: a job now and then, each told to a receiver that is well."""

import threading
import time
from collections.abc import Sequence
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
    """What the project saw, in seconds: of each POST, until each job starts, and until its end is told."""

    post: Sequence[float]
    start: Sequence[float]
    webhook: Sequence[float]

    @property
    def p95(self) -> dict[str, float]:
        """Each figure's 95th percentile, by its name."""
        named = {"post": self.post, "start": self.start, "webhook": self.webhook}
        return {name: sorted(values)[int(len(values) * 0.95)] for name, values in named.items()}

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            (*self.post, *other.post), (*self.start, *other.start), (*self.webhook, *other.webhook)
        )


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
    return Figures(posts, starts, lags)


def _seconds(written: str) -> float:
    return datetime.fromisoformat(written).astimezone(UTC).timestamp()
