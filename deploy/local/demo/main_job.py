"""The main job, end to end: the documentation's example, submitted, made, kept and called back."""

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from pydantic import BaseModel

from deploy.local.demo import receiver, timeline
from deploy.local.demo.receiver import Receiver
from deploy.local.demo.timeline import Log
from deploy.local.screen import Screen

_EXAMPLE = Path(__file__).with_name("example-request.json")
_PATIENCE = 900.0  # seconds for the job: five attempts of the real provider
_WEBHOOK_PATIENCE = 60.0  # seconds; the first try and two more
_TOLD_LATE = 2.0  # seconds in which the logs may still say what the API said already
_LOOK = 0.05
_MILESTONES = {"job.accepted", "job.dispatched", "attempt.sent", "image.kept", "job.succeeded"}
_STEPS = len(_MILESTONES) + 1  # and the webhook verified
_TAG = "darkroom-example"  # by which a later start finds that the example was made
_TERMINAL = {"succeeded", "failed", "canceled", "expired"}


class Image(BaseModel):
    """The part of a result's image that is shown."""

    sha256: str
    bytes: int
    width: int
    height: int


class Result(BaseModel):
    """A job's result: the images."""

    data: list[Image]


class Cost(BaseModel):
    """What a job cost, in credits."""

    charged: int


class Job(BaseModel):
    """The part of a job that is shown."""

    id: str
    status: str
    cost: Cost
    result: Result | None
    error: dict[str, object] | None


@dataclass(frozen=True)
class Demo:
    """What it takes: a `client` of the API with a key, the roles' logs, and the folder of images.

    `simulator` is its address, `images` is None when they go to a bucket.
    """

    client: httpx.AsyncClient
    logs: Sequence[Path]
    simulator: str | None
    images: Path | None
    screen: Screen

    async def run(self) -> str | None:
        """Run the job and show it; return its id when it succeeded and its webhook verified."""
        answer = await self.client.get("/v1/webhooks/project-secret")
        answer.raise_for_status()
        async with receiver.listening(answer.json()["secret"]) as listener:
            with self.screen.progress("T-Rex and blue mug", _STEPS) as advance:
                return await self._follow(listener, advance)

    async def made_before(self) -> str | None:
        """Return the id of the newest example that this project has finished; None when there is none."""
        answer = await self.client.get(
            "/v1/jobs", params={"tag": _TAG, "status": "succeeded", "limit": 1}
        )
        answer.raise_for_status()
        found = [Job.model_validate(job) for job in answer.json()["data"]]
        return found[0].id if found else None

    async def _follow(self, listener: Receiver, advance: Callable[[], None]) -> str | None:
        logs = [Log(path) for path in self.logs]
        began = datetime.now(UTC)
        job = await self._submit(listener.url)
        story = asyncio.create_task(self._tell(logs, job.id, began, advance))
        try:
            async with asyncio.timeout(_PATIENCE):
                job = await self._finished(job.id)
            async with asyncio.timeout(_WEBHOOK_PATIENCE):
                event = await listener.event(job.id)
            # The logs are another way than the API; let them end the story they have begun.
            await asyncio.wait({story}, timeout=_TOLD_LATE)
            self.screen.step(event.at - began, f"webhook verified, {event.type}")
            advance()
            verified = event.type == f"job.{job.status}"
        except TimeoutError:
            self.screen.say(f"{job.id} is {job.status}; no verified webhook came", "red")
            verified = False
        finally:
            story.cancel()
        self._sum_up(job, listener.refused)
        return job.id if verified and job.status == "succeeded" else None

    async def _submit(self, webhook: str) -> Job:
        answer = await self.client.post(
            "/v1/jobs",
            json={
                "input": example(self.simulator),
                "webhook": {"url": webhook},
                "tags": [_TAG],
            },
            headers={"Idempotency-Key": f"demo-{secrets.token_hex(8)}"},
        )
        answer.raise_for_status()
        return Job.model_validate(answer.json())

    async def _finished(self, job_id: str) -> Job:
        while True:
            answer = await self.client.get(f"/v1/jobs/{job_id}", params={"wait": 30}, timeout=45)
            answer.raise_for_status()
            job = Job.model_validate(answer.json())
            if job.status in _TERMINAL:
                return job
            await asyncio.sleep(_LOOK)

    async def _tell(
        self, logs: Sequence[Log], job_id: str, began: datetime, advance: Callable[[], None]
    ) -> None:
        """Show each moment of the job; end with the one that ends it."""
        while True:
            moments = [moment for moment in timeline.news(logs) if moment.about(job_id)]
            for moment in moments:
                if text := timeline.told(moment):
                    self.screen.step(moment.at - began, text)
                if moment.event in _MILESTONES:
                    advance()
            if any(moment.event == "webhook.delivered" for moment in moments):
                return
            await asyncio.sleep(_LOOK)

    def _sum_up(self, job: Job, refused: int) -> None:
        charged = timeline.priced(job.cost.charged)
        colour = "green" if job.status == "succeeded" else "red"
        self.screen.say(f"{job.id} {job.status}, charged {charged}", colour)
        if job.error:
            self.screen.say(f"its error: {json.dumps(job.error)}", "red")
        if refused:
            self.screen.say(f"{refused} webhooks did not verify and were refused", "red")
        for image in job.result.data if job.result else []:
            self.screen.say(f"the JPEG, {image.width}x{image.height}: {self._place(image)}")

    def _place(self, image: Image) -> str:
        """Find the image in the store: `{project}/{sha256}` below its folder, or in a bucket."""
        found = sorted(self.images.glob(f"*/{image.sha256}*")) if self.images else []
        return str(found[0]) if found else f"sha256 {image.sha256} in the store"


def example(simulator: str | None) -> dict[str, object]:
    """Return the documentation's example request, with the simulator's references where one runs."""
    body: dict[str, object] = json.loads(_EXAMPLE.read_text())
    urls = body["image_urls"]
    if simulator and isinstance(urls, list):
        body["image_urls"] = [f"{simulator}/reference/{url.rpartition('/')[2]}" for url in urls]
    return body


def command(base_url: str, key: str, job_id: str) -> str:
    """Write the curl line that shows the job."""
    return f"curl -s -H 'Authorization: Bearer {key}' '{base_url}/v1/jobs/{job_id}'"


def price_warning(base_url: str) -> str:
    """Return what the real provider will cost."""
    expected = timeline.priced(91_000)
    return f"AIMLAPI_KEY is set: the REAL provider ({base_url}) makes one image for {expected}"
