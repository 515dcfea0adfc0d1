"""The same work on taskiq over Redis streams.

Worker: `taskiq worker taskiq_peer:broker`; load: `python taskiq_peer.py COUNT`. Configured by `peer.json`
in the working folder.
"""

import asyncio
import json
import sys
from pathlib import Path
from uuid import uuid4

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker
from work import Dispatcher

_SET = json.loads(Path("peer.json").read_text())

broker = RedisStreamBroker(url=_SET["redis"])
dispatcher = Dispatcher(_SET["database"], _SET["provider"], _SET["webhook"], _SET["folder"])


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def _open(_: TaskiqState) -> None:
    await dispatcher.open()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def _close(_: TaskiqState) -> None:
    await dispatcher.close()


# By a name of its own: the default is the module's, which depends on how the worker imports it.
@broker.task(task_name="generate")
async def generate(job_id: str) -> None:
    """Do one job."""
    await dispatcher.run(job_id)


async def submit(count: int) -> None:
    """Insert and enqueue `count` jobs."""
    await broker.startup()
    await dispatcher.open()
    body = json.dumps(_SET["input"])
    for _ in range(count):
        job_id = str(uuid4())
        async with dispatcher.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO peer_jobs (id, status, input) VALUES (%s, 'queued', %s)",
                (job_id, body),
            )
        await generate.kiq(job_id)
    await dispatcher.close()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(submit(int(sys.argv[1])))
