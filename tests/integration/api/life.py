"""Moves jobs along their life without a worker: through the same arrows that a worker calls."""

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import text

from models import jobs
from models.accounts.callers import Caller
from models.images.storage import Store
from models.jobs import KeptImage
from models.jobs.attempts import Answer, Ref
from models.jobs.view import Presenter
from models.platform.db import Database

_LEASE = timedelta(seconds=60)
PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8 + b"\xff\xd9"


@dataclass(frozen=True)
class Life:
    """The dispatcher's and the worker's part in a job's life."""

    database: Database
    presenter: Presenter
    storage_url: str
    caller: Caller

    async def dispatch(self, job: UUID) -> int:
        """Dispatch this job, and others that wait, unless it was before; returns its fence."""
        async with self.database.transaction() as tx:
            released = await jobs.dispatch(tx, 1000, lease=_LEASE, typical_call=timedelta(0))
            before = text("SELECT fence FROM jobs WHERE id = :job AND status = 'released'")
            fence = await tx.scalar(before, {"job": job})
        found = next((each.fence for each in released if each.job_id == job), fence)
        assert found is not None
        return int(found)

    async def start(self, job: UUID) -> Ref:
        """Bring a queued job to running, with a paid call under way."""
        fence = await self.dispatch(job)
        async with self.database.transaction() as tx:
            begun = await jobs.start(
                tx, self.presenter, job, fence,
                start_id=uuid4(), worker="w1", key_prefix="k", lease=_LEASE,
                typical_call=timedelta(0),
            )  # fmt: skip
        assert begun is not None
        return begun.ref

    async def finish(self, ref: Ref, picture: bytes = PICTURE) -> None:
        """Answer the call under way with an image, and keep it."""
        answer = Answer("image", "settled", 91_000, 200, "inf-1", "https://cdn.example/1.jpg")
        async with self.database.transaction() as tx:
            received = await jobs.receive(
                tx, self.presenter, ref, answer, lease=_LEASE, ttl=timedelta(hours=1)
            )
        assert received is not None
        await Store(self.storage_url).put(str(self.caller.project_id), picture, "image/jpeg")
        kept = KeptImage(
            sha256(picture).hexdigest(), len(picture), 2048, 2048, "image/jpeg",
            "https://cdn.example/1.jpg", timedelta(days=30),
        )  # fmt: skip
        async with self.database.transaction() as tx:
            assert await jobs.succeed(tx, self.presenter, received[1], kept) is not None

    async def succeed(self, job: UUID, picture: bytes = PICTURE) -> None:
        """Bring a queued job to its image."""
        await self.finish(await self.start(job), picture)

    async def fail(self, job: UUID) -> None:
        """Bring a queued job to a refusal by the provider, uncharged."""
        ref = await self.start(job)
        answer = Answer("refused", "none", None, 400)
        async with self.database.transaction() as tx:
            assert await jobs.refuse(
                tx, self.presenter, ref, answer, code="content_refused", message="not this"
            )

    async def lose(self, ref: Ref) -> None:
        """Lose the answer of the call under way: nobody knows whether it was paid."""
        async with self.database.transaction() as tx:
            assert await jobs.lose(tx, self.presenter, ref, Answer("unknown", "unknown"))

    async def expire(self, job: UUID) -> None:
        """Let a queued job wait past its time."""
        await self.alter("UPDATE jobs SET queue_expires_at = now() WHERE id = :job", job=job)
        await self.clear_away(job)

    async def clear_away(self, job: UUID) -> None:
        """Expire a job one of whose times has come."""
        async with self.database.transaction() as tx:
            assert await jobs.expire(tx, self.presenter, job, timedelta(0)) is not None

    async def alter(self, statement: str, **values: object) -> None:
        """Change what no arrow changes: the passing of time, what another room has done."""
        async with self.database.transaction() as tx:
            await tx.execute(text(statement), values)

    def blobs(self) -> list[Path]:
        """List what lies in the store."""
        return [each for each in Path(self.storage_url).rglob("*") if each.is_file()]

    async def count(self, table: str) -> int:
        """Count the rows of a table."""
        async with self.database.transaction() as tx:
            counted = await tx.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608 - a test's
        return int(counted or 0)
