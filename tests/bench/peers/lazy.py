"""What most people would write: FastAPI, the SQLAlchemy ORM, and Celery's `.delay()` in the route.

Run as `python lazy.py PORT DATABASE_URL REDIS_URL`. No worker takes its tasks: the submission is measured.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID, uuid4

import uvicorn
from celery import Celery
from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_PORT, _DATABASE, _REDIS = int(sys.argv[1]), sys.argv[2], sys.argv[3]

engine = create_async_engine(
    "postgresql+psycopg://" + _DATABASE.split("://", 1)[1], pool_size=10, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
celery = Celery("lazy", broker=_REDIS)
celery.conf.task_default_queue = "lazy"


class Base(DeclarativeBase):
    """The tables."""

    type_annotation_map = {dict[str, object]: JSONB}  # noqa: RUF012 - SQLAlchemy's own name


class Job(Base):
    """A job."""

    __tablename__ = "lazy_jobs"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    status: Mapped[str] = mapped_column(default="queued")
    input: Mapped[dict[str, object]]
    meta: Mapped[dict[str, object]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Body(BaseModel):
    """What is posted."""

    model_config = ConfigDict(extra="forbid")

    input: dict[str, object]
    metadata: dict[str, object] = {}


class Shown(BaseModel):
    """What is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    status: str
    input: dict[str, object]
    meta: dict[str, object]
    created_at: datetime


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


async def _session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


app = FastAPI(lifespan=_lifespan)


@celery.task(name="generate")
def generate(job_id: str) -> None:
    """Make the image; no worker of this peer runs."""


@app.post("/v1/jobs", status_code=202)
async def submit(body: Body, session: Annotated[AsyncSession, Depends(_session)]) -> Shown:
    """Add, commit, refresh, and hand over to Celery."""
    job = Job(input=body.input, meta=body.metadata)
    session.add(job)
    await session.commit()
    await session.refresh(job)
    generate.delay(str(job.id))
    return Shown.model_validate(job)


if __name__ == "__main__":
    uvicorn.run(
        app, port=_PORT, loop="uvloop", http="httptools", access_log=False, log_level="error"
    )
