"""The work of one job, as the peers' workers do it: the same call, commits, image and webhook.

Darkroom commits six times for a job: started, answered, kept, thumbnail drawn, delivery taken, told; so
do these, with one plain statement each. They promise less: no attempt rows, no leases, no ledger, no
event that outlives its worker, no retries.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path

import aiohttp
from PIL import Image
from psycopg_pool import AsyncConnectionPool

TABLE = (
    "CREATE TABLE IF NOT EXISTS peer_jobs (id uuid PRIMARY KEY, status text NOT NULL, input jsonb "
    "NOT NULL, credits bigint, url text, sha256 text, thumbnail boolean, tries int DEFAULT 0, "
    "created_at timestamptz DEFAULT now(), finished_at timestamptz, delivered_at timestamptz)"
)


class Dispatcher:
    """What a peer's worker stands on."""

    def __init__(self, database: str, provider: str, webhook: str, folder: str) -> None:
        self.pool = AsyncConnectionPool(
            database, min_size=10, max_size=10, open=False, kwargs={"autocommit": True}
        )
        self._provider, self._webhook, self._folder = provider, webhook, Path(folder)
        self._http: aiohttp.ClientSession | None = None
        self._drawers = ProcessPoolExecutor(2)

    async def open(self) -> None:
        """Open the pool and the client."""
        await self.pool.open()
        async with self.pool.connection() as connection:
            await connection.execute(TABLE)
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._folder.mkdir(parents=True, exist_ok=True)

    async def close(self) -> None:
        """Close all."""
        if self._http is not None:
            await self._http.close()
        await self.pool.close()
        self._drawers.shutdown()

    async def run(self, job_id: str) -> None:
        """Start, call, keep, finish, draw, call back."""
        (input_,) = await self._say(job_id, "status = 'running'", "input")
        if self._http is None:
            return
        headers = {"authorization": "Bearer simulator-key", "x-client-request-id": job_id}
        url = f"{self._provider}/v1/images/generations"
        async with self._http.post(url, json=input_, headers=headers) as answer:
            made = await answer.json()
        credits_ = made["meta"]["usage"]["credits_used"]
        await self._say(job_id, "credits = %s, url = %s", "id", credits_, made["data"][0]["url"])
        async with self._http.get(made["data"][0]["url"]) as image:
            content = await image.read()
        digest = hashlib.sha256(content).hexdigest()
        await asyncio.to_thread((self._folder / digest).write_bytes, content)
        await self._say(
            job_id, "status = 'succeeded', sha256 = %s, finished_at = now()", "id", digest
        )
        drawing = asyncio.get_running_loop().run_in_executor(self._drawers, thumbnail, content)
        await asyncio.to_thread((self._folder / f"{digest}.thumb").write_bytes, await drawing)
        await self._say(job_id, "thumbnail = true", "id")
        await self._tell(job_id)

    async def _tell(self, job_id: str) -> None:
        (digest,) = await self._say(job_id, "tries = tries + 1", "sha256")
        if self._http is None:
            return
        body = json.dumps({"type": "job.succeeded", "data": {"id": job_id, "sha256": digest}})
        async with self._http.post(self._webhook, data=body, headers=_signed(job_id, body)) as told:
            await told.read()
        await self._say(job_id, "delivered_at = now()", "id")

    async def _say(
        self, job_id: str, changes: str, wanted: str, *values: object
    ) -> tuple[object, ...]:
        """Change a job's row, in a transaction of its own; returns a column of it."""
        statement = f"UPDATE peer_jobs SET {changes} WHERE id = %s RETURNING {wanted}"  # noqa: S608
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement, (*values, job_id))
            return await cursor.fetchone()


def thumbnail(content: bytes) -> bytes:
    """Draw a small JPEG, in a process that does nothing else."""
    with Image.open(BytesIO(content)) as image:
        image.thumbnail((512, 512))
        out = BytesIO()
        image.convert("RGB").save(out, "JPEG", quality=80)
    return out.getvalue()


def _signed(job_id: str, body: str) -> dict[str, str]:
    now = str(int(time.time()))
    digest = hmac.digest(b"secret", f"{job_id}.{now}.{body}".encode(), hashlib.sha256)
    return {
        "content-type": "application/json",
        "webhook-id": job_id,
        "webhook-timestamp": now,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
