"""(new) → jobs: erasures as a project asks for them, and as it sees them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Select, func, select

from models import ids
from models.accounts.callers import Caller
from models.audit_log import recording
from models.errors import LimitReached, NotFound
from models.jobs.submission.naming import wished_before
from models.money import budgets
from models.platform.db import Transaction
from models.platform.vault import Vault
from models.schema import Erasure, Job
from models.states import ErasureSubject


@dataclass(frozen=True, slots=True)
class Wish:
    """Whom or what to forget: one of these; and the hashes of an Idempotency-Key and of its request."""

    customer: str | None = None
    job_ids: Sequence[UUID] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    name: tuple[bytes, bytes] | None = None

    @property
    def subject(self) -> ErasureSubject:
        """Which of them it is."""
        if self.customer is not None:
            return "customer"
        return "jobs" if self.job_ids else "metadata"

    @property
    def about(self) -> dict[str, object]:
        """What it is about, as it is stored until it is done."""
        if self.customer is not None:
            return {"customer": self.customer}
        if self.job_ids:
            return {"job_ids": sorted(str(each) for each in self.job_ids)}
        return {"metadata": self.metadata}


def digests(vault: Vault, project_id: UUID, about: dict[str, object]) -> list[str]:
    """Return what recognizes a subject to who knows it: keyed, so that guessing needs our secret too.

    The present secret's first, then that of the one before, while that is set.
    """
    written = json.dumps(about, sort_keys=True, separators=(",", ":"))
    return vault.macs(b"erasure:" + project_id.bytes + written.encode())


async def request(
    tx: Transaction, vault: Vault, caller: Caller, wish: Wish, *, most: int
) -> tuple[Erasure, bool]:
    """Accept an erasure; returns it, and whether an earlier request of this name had made it.

    The customer's budgets are deleted with it, for they name whom they are on. Raises `NotFound` for a job
    that is not this project's, `KeyReuse`, and `LimitReached` when so many of the project are under way.
    """
    project_id = caller.project_id
    before = await wished_before(tx, Erasure, ids.ERASURE, project_id, wish.name)
    if before is not None:
        return before, True
    await _demand_jobs(tx, project_id, wish.job_ids)
    await _demand_room(tx, project_id, most)
    name, fingerprint = wish.name or (None, None)
    counts: dict[str, object] = {}
    if wish.customer is not None:
        counts["budgets"] = await budgets.forget_customer(tx, project_id, wish.customer)
    erasure_id = ids.new()
    tx.add(
        Erasure(
            id=erasure_id,
            project_id=project_id,
            key_id=caller.key_id,
            subject=wish.subject,
            about=wish.about,
            digest=digests(vault, project_id, wish.about)[0],
            counts=counts,
            jobs_digest=bytes(32),
            idempotency_hash=name,
            fingerprint=fingerprint,
        )
    )
    await tx.flush()
    tx.ring("erasures")
    named, of = ids.text(ids.ERASURE, erasure_id), {"subject": wish.subject}
    await recording.record(tx, "erasure.requested", named, project_id=project_id, after=of)
    return await find(tx, project_id, erasure_id), False


async def find(tx: Transaction, project_id: UUID, erasure_id: UUID) -> Erasure:
    """Return an erasure of a project; raises `NotFound`."""
    mine = select(Erasure).where(Erasure.id == erasure_id, Erasure.project_id == project_id)
    erasure = await tx.scalar(mine)
    if erasure is None:
        raise NotFound("There is no such erasure in this project.")
    return erasure


async def listing(
    tx: Transaction,
    project_id: UUID,
    digests_: Sequence[str] | None,
    before: UUID | None,
    limit: int,
) -> tuple[list[Erasure], bool]:
    """Return a page of a project's erasures, of these digests if any, and whether there are more."""
    mine: Select[Erasure] = select(Erasure).where(Erasure.project_id == project_id)
    if digests_ is not None:
        mine = mine.where(Erasure.digest.in_(digests_))
    if before is not None:
        mine = mine.where(Erasure.id < before)
    newest = mine.order_by(Erasure.project_id.desc(), Erasure.id.desc())
    found = list(await tx.scalars(newest.limit(limit + 1)))
    return found[:limit], len(found) > limit


async def _demand_jobs(tx: Transaction, project_id: UUID, asked: Sequence[UUID]) -> None:
    mine = select(Job.id).where(Job.id.in_(asked), Job.project_id == project_id)
    found = set(await tx.scalars(mine)) if asked else set()
    missing = [ids.text(ids.JOB, each) for each in asked if each not in found]
    if missing:
        raise NotFound(f"There is no such job in this project: {', '.join(missing[:10])}.")


async def _demand_room(tx: Transaction, project_id: UUID, most: int) -> None:
    under_way = select(func.count()).where(
        Erasure.project_id == project_id, Erasure.finished_at.is_(None)
    )
    if (await tx.scalar(under_way) or 0) >= most:
        raise LimitReached(
            f"{most:,} erasures of this project are under way, as many as may be. Wait for one to end."
        )
