"""A bare FastAPI with one psycopg statement per request, in a transaction, as psycopg's own pages have it.

Run as `python bare.py PORT DATABASE_URL`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ConfigDict

_PORT, _DATABASE = int(sys.argv[1]), sys.argv[2]
_POOL = 10  # as Darkroom's


class Body(BaseModel):
    """What is posted: the provider's body, and the metadata."""

    model_config = ConfigDict(extra="forbid")

    input: dict[str, object]
    metadata: dict[str, str] = {}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncConnectionPool(_DATABASE, min_size=_POOL, max_size=_POOL) as pool:
        async with pool.connection() as connection:
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS bare_jobs (id uuid PRIMARY KEY, status text NOT NULL, "
                "input jsonb NOT NULL, metadata jsonb NOT NULL, created_at timestamptz DEFAULT now())"
            )
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/v1/jobs", status_code=202)
async def submit(request: Request, body: Body) -> JSONResponse:
    """Insert one row."""
    job_id = uuid4()
    row = body.model_dump_json(include={"input"}), body.model_dump_json(include={"metadata"})
    async with request.app.state.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO bare_jobs (id, status, input, metadata) VALUES (%s, 'queued', %s, %s)",
            (job_id, *row),
        )
    return JSONResponse({"id": str(job_id), "status": "queued", **body.model_dump()}, 202)


@app.get("/v1/jobs/{job_id}")
async def read(request: Request, job_id: Annotated[str, "a uuid"]) -> JSONResponse:
    """Select one row."""
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT status, input, metadata, created_at FROM bare_jobs WHERE id = %s", (job_id,)
        )
        status, input_, metadata, created_at = await cursor.fetchone()
    return JSONResponse({
        "id": job_id, "status": status, **input_, **metadata, "created_at": created_at.isoformat(),
    })  # fmt: skip


@app.get("/v1/held")
async def held() -> JSONResponse:
    """Hold a request for a minute."""
    await asyncio.sleep(60)
    return JSONResponse({})


if __name__ == "__main__":
    uvicorn.run(
        app, port=_PORT, loop="uvloop", http="httptools", access_log=False, log_level="error"
    )
