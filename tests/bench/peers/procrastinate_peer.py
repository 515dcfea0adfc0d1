"""The same work on procrastinate, whose queue is Postgres itself.

Worker: `python procrastinate_peer.py worker CONCURRENCY`; load: `python procrastinate_peer.py COUNT`.
Configured by `peer.json` in the working folder.
"""

import asyncio
import json
import sys
from pathlib import Path
from uuid import uuid4

from procrastinate import App, PsycopgConnector
from work import Dispatcher

_SET = json.loads(Path("peer.json").read_text())

app = App(connector=PsycopgConnector(conninfo=_SET["database"], min_size=10, max_size=10))
dispatcher = Dispatcher(_SET["database"], _SET["provider"], _SET["webhook"], _SET["folder"])


@app.task(queue="generate")
async def generate(job_id: str) -> None:
    """Do one job."""
    await dispatcher.run(job_id)


async def _work(concurrency: int) -> None:
    async with app.open_async():
        await dispatcher.open()
        await app.run_worker_async(queues=["generate"], concurrency=concurrency)


async def _submit(count: int) -> None:
    async with app.open_async():
        await dispatcher.open()
        body = json.dumps(_SET["input"])
        for _ in range(count):
            job_id = str(uuid4())
            async with dispatcher.pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO peer_jobs (id, status, input) VALUES (%s, 'queued', %s)",
                    (job_id, body),
                )
            await generate.defer_async(job_id=job_id)
        await dispatcher.close()


async def _schema() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["schema"]:
            asyncio.run(_schema())
        case ["worker", concurrency]:
            asyncio.run(_work(int(concurrency)))
        case [count]:
            asyncio.run(_submit(int(count)))
