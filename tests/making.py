"""Makes jobs of every state, through the same arrows that dispatcher and workers call."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from hashlib import sha256
from typing import TypeVar
from uuid import UUID, uuid4

from psycopg.rows import DictRow
from sqlalchemy import select

from models import jobs
from models.accounts.projects import Caller
from models.jobs import Dispatch, KeptImage, Start, Submission, Terms
from models.jobs.attempts import Answer, Ref
from models.jobs.view import Presenter
from models.money.audit import Difference, of_budgets, of_jobs
from models.platform.db import Database, Transaction
from models.schema import Job

PRICE = 91_000
LEASE = timedelta(seconds=60)
DAY = timedelta(days=1)
NOTHING = timedelta(0)
IMAGE_URL = "https://cdn.example/1.jpg"

IMAGE = Answer("image", "settled", PRICE, 200, "inf-1", IMAGE_URL)
IMAGE_UNPRICED = Answer("image", "unknown", None, 200, "inf-1", IMAGE_URL)
FREE = Answer("try_later", "none", None, 500, error={"code": "provider_error", "message": "500"})
SLOW_DOWN = Answer("try_later", "none", None, 429, counts=False)
NOT_SENT = Answer("try_later", "none", counts=False)
EMPTY_PAID = Answer("try_later", "settled", PRICE, 200, "inf-2")
EMPTY_UNPRICED = Answer("try_later", "unknown", None, 200)
REFUSED = Answer("refused", "none", None, 400, error={"code": "invalid_input", "message": "no"})
PARKED = Answer(
    "parked", "none", None, 403, counts=False, error={"code": "wallet_empty", "message": "empty"}
)
LOST = Answer("unknown", "unknown", None, 504, error={"code": "edge_error", "message": "504"})

KEPT = KeptImage(sha256(b"image").hexdigest(), 5, 2048, 2048, "image/jpeg", IMAGE_URL, 30 * DAY)

Result = TypeVar("Result")
Row = dict[str, object]


def asked(prompt: str = "a red fox", **changes: object) -> Submission:
    """Return a submission; what is not given is the default of the API."""
    values: dict[str, object] = {
        "model": "bytedance/seedream-5-0-lite-preview",
        "input": {"model": "bytedance/seedream-5-0-lite-preview", "prompt": prompt},
        "input_hash": sha256(prompt.encode()).digest(),
        "estimate": PRICE,
    }
    return Submission(**(values | changes))  # type: ignore[arg-type] # a test names what it changes


async def _audit(tx: Transaction) -> list[Difference]:
    """Audit all in one transaction, which may be one that is taken back."""
    made = list(await tx.scalars(select(Job.id)))
    return await of_jobs(tx, made) + await of_budgets(tx)


@cache
def _named(sql: str) -> bytes:
    """Write a statement's parameters, `:name`, as psycopg has them."""
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", sql.replace("%", "%%")).encode()


@dataclass(frozen=True)
class Bench:
    """A database with one project, and the parts that API, dispatcher and worker play in it."""

    database: Database
    presenter: Presenter
    caller: Caller
    plain: bool = (
        True  # as a worker does: the plain way first, and the general one where it says no
    )

    async def do(self, write: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """Run one arrow in a transaction of its own."""
        async with self.database.transaction() as tx:
            return await write(tx)

    # The world's part: clocks and tampering.

    async def change(self, job_id: UUID, values: str) -> None:
        """Let time pass for a job: set columns of its row, as SQL."""
        await self.run(f"UPDATE jobs SET {values} WHERE id = :id", id=job_id)  # noqa: S608 - ours

    async def run(self, sql: str, **values: object) -> None:
        """Run one statement."""
        await self.rows(sql, **values)

    async def rows(self, sql: str, **values: object) -> Sequence[DictRow]:
        """Run one statement and read its rows: through the driver, in an eighth of a session's time."""
        return await self.database.direct.read(_named(sql), values)

    async def job(self, job_id: UUID) -> DictRow:
        """Read a job's row."""
        return (await self.rows("SELECT * FROM jobs WHERE id = :id", id=job_id))[0]

    async def attempts(self, job_id: UUID) -> Sequence[DictRow]:
        """Read a job's attempts, in order."""
        return await self.rows(
            "SELECT * FROM attempts WHERE job_id = :id ORDER BY number", id=job_id
        )

    async def ledger(self, job_id: UUID) -> list[tuple[int, str, int]]:
        """Read a job's ledger: attempt, kind, credits, as they were booked."""
        found = await self.rows(
            "SELECT attempt, kind, credits FROM ledger WHERE job_id = :id ORDER BY id", id=job_id
        )
        return [(row["attempt"], row["kind"], row["credits"]) for row in found]

    async def events(self, job_id: UUID) -> list[str]:
        """Read the types of a job's events, in order."""
        found = await self.rows(
            "SELECT type FROM events WHERE job_id = :id ORDER BY sequence", id=job_id
        )
        return [row["type"] for row in found]

    async def audit(self) -> list[str]:
        """Return what the audit finds; always an empty list, unless somebody tampers."""
        return [each.message for each in await self.do(_audit)]

    async def everything_of(self, job_id: UUID) -> Mapping[str, Sequence[DictRow]]:
        """Read every row that belongs to a job, by table."""
        tables = {
            "jobs": "id", "attempts": "job_id", "ledger": "job_id", "images": "job_id",
            "events": "job_id", "deliveries": "job_id",
        }  # fmt: skip
        return {
            table: await self.rows(
                f"SELECT * FROM {table} WHERE {column} = :id ORDER BY 1, 2",  # noqa: S608 - ours
                id=job_id,
            )
            for table, column in tables.items()
        }

    # The dispatcher's and the worker's part.

    async def submit(self, **changes: object) -> UUID:
        """Submit a job; returns its id."""
        submission = asked(**changes)  # type: ignore[arg-type] # as above
        job, _ = await self.do(lambda tx: jobs.submit(tx, self.presenter, self.caller, submission))
        return job.id

    async def dispatch(self, job_id: UUID) -> int:
        """Dispatch a job, due or not, and whatever is due beside it; returns its fence."""
        await self.change(job_id, "run_after = now()")
        dispatched = await self.do(
            lambda tx: jobs.dispatch(tx, 1_000, lease=LEASE, typical_call=NOTHING)
        )
        return next(each.fence for each in dispatched if each.job_id == job_id)

    async def start(
        self, job_id: UUID, fence: int, *, worker: str = "w1", start_id: UUID | None = None
    ) -> Start | None:
        """Start a dispatched job: as a worker does, in the plain way first."""
        terms: Terms = {
            "start_id": start_id or uuid4(), "worker": worker, "key_prefix": "simulato",
            "lease": LEASE, "typical_call": NOTHING,
        }  # fmt: skip
        if self.plain:
            begun = await jobs.start_plain(self.database.direct, job_id, fence, **terms)
            if begun is not None:
                return begun
        return await self.do(lambda tx: jobs.start(tx, self.presenter, job_id, fence, **terms))

    async def begin(self, job_id: UUID, *, worker: str = "w1") -> Ref:
        """Dispatch and start a queued job; returns the attempt in the worker's hands."""
        begun = await self.start(job_id, await self.dispatch(job_id), worker=worker)
        assert begun is not None
        return begun.ref

    async def running(self, **changes: object) -> Ref:
        """Make a job whose first call is under way."""
        return await self.begin(await self.submit(**changes))

    async def receive(self, ref: Ref, answer: Answer = IMAGE) -> tuple[str, Ref] | None:
        """Book a paid image."""
        if self.plain and await jobs.receive_plain(
            self.database.direct, ref, answer, lease=LEASE, ttl=DAY
        ):
            return "keep", ref
        return await self.do(
            lambda tx: jobs.receive(tx, self.presenter, ref, answer, lease=LEASE, ttl=DAY)
        )

    async def succeed(self, ref: Ref, kept: KeptImage = KEPT) -> Job | None:
        """Say that the image's bytes are kept."""
        if self.plain:
            ended = await jobs.succeed_plain(self.database.direct, self.presenter, ref, kept)
            if ended is not None:
                return ended
        return await self.do(lambda tx: jobs.succeed(tx, self.presenter, ref, kept))

    async def keep_late(self, ref: Ref, kept: KeptImage = KEPT) -> Job | None:
        """Say that the bytes of an image that was overtaken are kept."""
        return await self.do(lambda tx: jobs.keep_late(tx, self.presenter, ref, kept))

    async def keep_later(self, ref: Ref) -> Job | None:
        """Say that the image's bytes could not be kept."""
        return await self.do(
            lambda tx: jobs.keep_later(tx, self.presenter, ref, ttl=DAY, message="the disk is full")
        )

    async def retry_later(
        self, ref: Ref, answer: Answer = FREE, delay: timedelta = NOTHING
    ) -> Job | None:
        """Say that there is no image this time."""
        return await self.do(lambda tx: jobs.retry_later(tx, self.presenter, ref, answer, delay))

    async def refuse(self, ref: Ref, answer: Answer = REFUSED) -> Job | None:
        """Say that the provider will never make this image."""
        return await self.do(
            lambda tx: jobs.refuse(
                tx, self.presenter, ref, answer, code="invalid_input", message="no"
            )
        )

    async def park(self, ref: Ref, answer: Answer = PARKED) -> Job | None:
        """Say that the wallet is empty."""
        return await self.do(lambda tx: jobs.park(tx, self.presenter, ref, answer, "wallet_empty"))

    async def lose(self, ref: Ref, answer: Answer = LOST) -> Job | None:
        """Say that the answer was lost."""
        return await self.do(lambda tx: jobs.lose(tx, self.presenter, ref, answer))

    async def cancel(self, job_id: UUID) -> Job:
        """Cancel a job as its project."""
        return await self.do(
            lambda tx: jobs.cancel(tx, self.presenter, self.caller.project_id, job_id)
        )

    async def expire(self, job_id: UUID) -> int:
        """Let the job's queue ttl end, and take the round that expires jobs."""
        await self.change(job_id, "queue_expires_at = now() - interval '1 s'")
        return await self.expire_due()

    async def expire_due(self) -> int:
        """Take a round of expiring jobs."""
        found = await self.do(lambda tx: jobs.late(tx, 100, NOTHING))
        ended = [await self.do(partial(self._expire, job_id=each)) for each in found]
        return len([job for job in ended if job is not None])

    async def _expire(self, tx: Transaction, job_id: UUID) -> Job | None:
        return await jobs.expire(tx, self.presenter, job_id, NOTHING)

    async def reap(self, job_id: UUID) -> int:
        """Let the job's lease run out, if it has one, and take the reaper's round."""
        await self.change(job_id, "lease_until = lease_until - interval '1 h'")
        return await self.reap_due()

    async def reap_due(self) -> int:
        """Take a round of reaping."""
        return (await self.reap_round()).total()

    async def reap_round(self, batch: int = 100) -> Counter[str]:
        """Take a round of reaping; returns what was taken back."""
        found = await self.do(lambda tx: jobs.overdue(tx, batch))
        reaped = [await self.do(partial(self._reap, job_id=each)) for each in found]
        return Counter(each for each in reaped if each is not None)

    async def _reap(self, tx: Transaction, job_id: UUID) -> str | None:
        return await jobs.reap(tx, self.presenter, job_id)

    async def follow_up(self) -> int:
        """Take the rounds that see to the followers of leaders which have ended; returns how many."""
        count = 0
        while found := await self.do(lambda tx: jobs.waiting(tx, 5, 20)):
            for leader, follower in found:
                if follower is None:
                    await self.do(partial(jobs.settle, leader_id=leader))
                else:
                    count += 1
                    await self.do(
                        partial(jobs.follow_up, presenter=self.presenter, follower_id=follower)
                    )
        return count

    async def hand_back(self, job_id: UUID, fence: int) -> int:
        """Return a dispatched job back."""
        return await self.do(lambda tx: jobs.hand_back(tx, [Dispatch(job_id, fence)]))

    async def resolve(
        self, job_id: UUID, number: int = 1, credits_: int | None = None
    ) -> Job | None:
        """Find out what an attempt cost."""
        verdict = jobs.Verdict(credits_, None if credits_ is None else "inf-log")
        return await self.do(lambda tx: jobs.resolve(tx, self.presenter, job_id, number, verdict))
