"""No queue at all: webhooks that are signed and sent over kept connections, with one UPDATE for each.

`python bare_sender.py COUNT FLIGHT`, configured by `peer.json`; the rows are made first, and then sent.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time
from pathlib import Path

import aiohttp
from psycopg_pool import AsyncConnectionPool

_TABLE = (
    "CREATE TABLE peer_deliveries "
    "(id bigint PRIMARY KEY, body bytea NOT NULL, delivered_at timestamptz)"
)
_SECRET = b"a secret of thirty-two characters"


async def main(told: dict[str, str], count: int, flight: int) -> None:
    """Send `count` webhooks, `flight` of them at once."""
    body = json.dumps({"type": "job.canceled", "data": {"input": told["input"], "pad": "x" * 900}})
    pool = AsyncConnectionPool(
        told["database"], min_size=10, max_size=10, open=False, kwargs={"autocommit": True}
    )
    await pool.open()
    async with pool.connection() as connection:
        await connection.execute(_TABLE)
        await connection.execute(
            "INSERT INTO peer_deliveries SELECT n, %s FROM generate_series(1, %s) n",
            (body.encode(), count),
        )
        rows = await (await connection.execute("SELECT id, body FROM peer_deliveries")).fetchall()
    waiting = iter(rows)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def work() -> None:
            for id_, content in waiting:
                async with http.post(told["webhook"], data=content, headers=_signed(id_, content)):
                    pass
                async with pool.connection() as connection:
                    await connection.execute(
                        "UPDATE peer_deliveries SET delivered_at = now() WHERE id = %s", (id_,)
                    )

        await asyncio.gather(*(work() for _ in range(flight)))
    await pool.close()


def _signed(id_: int, content: bytes) -> dict[str, str]:
    now = str(int(time.time()))
    said = f"msg_{id_}.{now}.".encode() + content
    return {
        "content-type": "application/json",
        "webhook-id": f"msg_{id_}",
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{hmac.new(_SECRET, said, hashlib.sha256).hexdigest()}",
    }


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path("peer.json").read_text()), int(sys.argv[1]), int(sys.argv[2])))
