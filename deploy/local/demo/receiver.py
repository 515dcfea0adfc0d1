"""A receiver of webhooks, as a customer would write one: it believes only what verifies."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import web

_TOLERANCE = timedelta(minutes=5)  # what the specification advises against replays


@dataclass(frozen=True)
class Verified:
    """An event whose signature was right: its type (`job.succeeded`), and when it came."""

    type: str
    at: datetime


class Receiver:
    """Keeps the last event of each job, of those that carried a valid signature."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._verified: dict[str, Verified] = {}
        self._news = asyncio.Condition()
        self.url = ""
        self.refused = 0

    async def event(self, job_id: str) -> Verified:
        """Wait for a verified event about the job."""
        async with self._news:
            await self._news.wait_for(lambda: job_id in self._verified)
            return self._verified[job_id]

    async def receive(self, request: web.Request) -> web.Response:
        """Answer 204 to what verifies and 401 to anything else."""
        body = await request.read()
        if not verifies(self._secret, request.headers, body, now=time.time()):
            self.refused += 1
            return web.Response(status=401)
        event = json.loads(body)
        async with self._news:
            self._verified[event["data"]["id"]] = Verified(event["type"], datetime.now(UTC))
            self._news.notify_all()
        return web.Response(status=204)


@asynccontextmanager
async def listening(secret: str) -> AsyncIterator[Receiver]:
    """Run a receiver that knows the project's secret (`whsec_…`), on a free port."""
    receiver = Receiver(secret)
    app = web.Application()
    app.router.add_post("/webhook", receiver.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
        yield receiver
    finally:
        await runner.cleanup()


def verifies(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> bool:
    """Return whether one of the `v1` signatures is right and its timestamp recent.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md:
    HMAC-SHA256 over `id.timestamp.body` with the decoded secret, in base 64; compared in constant
    time.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        sent = headers["webhook-timestamp"]
        recent = abs(now - int(sent)) <= _TOLERANCE.total_seconds()
        signed = f"{headers['webhook-id']}.{sent}.".encode() + body
        given = headers["webhook-signature"].split()
    except (KeyError, ValueError, binascii.Error):
        return False
    digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    right = [hmac.compare_digest(b"v1," + digest, one.encode()) for one in given]
    return recent and any(right)
