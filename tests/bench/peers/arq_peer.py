"""The same work on arq.

Worker: `python arq_peer.py worker CONCURRENCY`; load: `python arq_peer.py COUNT`. Configured by
`peer.json` in the working folder.
"""

import asyncio
import json
import sys
from pathlib import Path
from uuid import uuid4

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from work import Dispatcher

_SET = json.loads(Path("peer.json").read_text())
_REDIS = RedisSettings.from_dsn(_SET["redis"])

dispatcher = Dispatcher(_SET["database"], _SET["provider"], _SET["webhook"], _SET["folder"])


async def generate(_: dict[object, object], job_id: str) -> None:
    """Do one job."""
    await dispatcher.run(job_id)


async def _open(_: dict[object, object]) -> None:
    await dispatcher.open()


async def _close(_: dict[object, object]) -> None:
    await dispatcher.close()


async def _work(concurrency: int) -> None:
    worker = Worker(
        functions=[generate], redis_settings=_REDIS, on_startup=_open, on_shutdown=_close,
        max_jobs=concurrency, poll_delay=0.01, keep_result=0, job_timeout=300,
    )  # fmt: skip
    await worker.async_run()


async def _submit(count: int) -> None:
    redis = await create_pool(_REDIS)
    await dispatcher.open()
    body = json.dumps(_SET["input"])
    for _ in range(count):
        job_id = str(uuid4())
        async with dispatcher.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO peer_jobs (id, status, input) VALUES (%s, 'queued', %s)",
                (job_id, body),
            )
        await redis.enqueue_job("generate", job_id)
    await dispatcher.close()
    await redis.aclose()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["worker", concurrency]:
            asyncio.run(_work(int(concurrency)))
        case [count]:
            asyncio.run(_submit(int(count)))
