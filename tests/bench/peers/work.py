"""The work of one job, as the peers' workers do it: the same call, transactions, image and webhook.

They promise less: no attempt rows, no leases, no ledger, no retries of a webhook.
"""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

import aiohttp
from psycopg_pool import AsyncConnectionPool

TABLE = (
    "CREATE TABLE IF NOT EXISTS peer_jobs (id uuid PRIMARY KEY, status text NOT NULL, input jsonb "
    "NOT NULL, credits bigint, sha256 text, created_at timestamptz DEFAULT now(), "
    "finished_at timestamptz, delivered_at timestamptz)"
)


class Desk:
    """What a peer's worker stands on."""

    def __init__(self, database: str, provider: str, webhook: str, folder: str) -> None:
        self.pool = AsyncConnectionPool(
            database, min_size=10, max_size=10, open=False, kwargs={"autocommit": True}
        )
        self._provider, self._webhook, self._folder = provider, webhook, Path(folder)
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the pool and the client."""
        await self.pool.open()
        async with self.pool.connection() as connection:
            await connection.execute(TABLE)
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._folder.mkdir(parents=True, exist_ok=True)

    async def close(self) -> None:
        """Close both."""
        if self._http is not None:
            await self._http.close()
        await self.pool.close()

    async def run(self, job_id: str) -> None:
        """Start, call, keep, finish, call back."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE peer_jobs SET status = 'running' WHERE id = %s RETURNING input", (job_id,)
            )
            row = await cursor.fetchone()
        if row is None or self._http is None:
            return
        headers = {"authorization": "Bearer simulator-key", "x-client-request-id": job_id}
        url = f"{self._provider}/v1/images/generations"
        async with self._http.post(url, json=row[0], headers=headers) as answer:
            made = await answer.json()
        async with self._http.get(made["data"][0]["url"]) as image:
            content = await image.read()
        digest = hashlib.sha256(content).hexdigest()
        (self._folder / digest).write_bytes(content)
        credits_ = made["meta"]["usage"]["credits_used"]
        async with self.pool.connection() as connection:
            await connection.execute(
                "UPDATE peer_jobs SET status = 'succeeded', credits = %s, sha256 = %s, "
                "finished_at = now() WHERE id = %s",
                (credits_, digest, job_id),
            )
        body = json.dumps({"type": "job.succeeded", "data": {"id": job_id, "sha256": digest}})
        async with self._http.post(self._webhook, data=body, headers=_signed(job_id, body)) as told:
            await told.read()
        async with self.pool.connection() as connection:
            await connection.execute(
                "UPDATE peer_jobs SET delivered_at = now() WHERE id = %s", (job_id,)
            )


def _signed(job_id: str, body: str) -> dict[str, str]:
    now = str(int(time.time()))
    digest = hmac.digest(b"secret", f"{job_id}.{now}.{body}".encode(), hashlib.sha256)
    return {
        "content-type": "application/json",
        "webhook-id": job_id,
        "webhook-timestamp": now,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
