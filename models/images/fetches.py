"""Pictures that workers fetch from URLs, for files: which are asked for, and what became of each.

    asked    `ask`: a row, which a dispatcher hands to a worker (`due`); whoever asks for the same joins it
    over     `kept` or `failed`: there is a file, or a sentence for its sender
    gone     `forget`, some minutes later, for a URL may be a secret

A worker that dies with it leaves a row whose time comes again, a few times.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Interval, bindparam, delete, func, select, text, update

from models import ids
from models.errors import NotFound, TooMany
from models.images import files
from models.images.files import Picture
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Fetch, Project

_LEASE = timedelta(seconds=90)  # to fetch a picture and keep it: three times what that may take
_ASKED_MAX = 50  # of a project
_OUT_MAX, _SHARE = 32, 4  # with workers at once: of all, and of a project
_TRIES = 3
# After its end, by who asks for the same; later the picture may be another.
_JOINED = timedelta(minutes=2)
_REMEMBERED = timedelta(minutes=10)
_AGAIN = timedelta(seconds=5)
_LOST = "the workers that tried to fetch it were lost, again and again; send it again."


@dataclass(frozen=True, slots=True)
class Asked:
    """A picture that a worker is to fetch."""

    id: UUID
    project_id: UUID
    url: str
    customer: str | None


async def ask(
    tx: Transaction, project_id: UUID, url: str, customer: str | None
) -> tuple[UUID, datetime]:
    """Have a picture fetched, or join whoever asked for it a moment ago; return the fetch, and the time.

    Raises `TooMany`.
    """
    # Locked, so that who asks for the same at the same time comes after; submissions do not wait for it.
    owner = select(func.now()).select_from(Project).where(Project.id == project_id)
    now = (await tx.execute(owner.with_for_update(key_share=True))).scalar_one()
    mine = Fetch.project_id == project_id
    lately = Fetch.finished_at.is_(None) | (
        Fetch.file_id.is_not(None) & (Fetch.finished_at > func.now() - _JOINED)
    )
    same = mine, Fetch.url == url, Fetch.customer.is_not_distinct_from(customer), lately
    found = await tx.scalar(select(Fetch.id).where(*same).limit(1))
    if found is not None:
        return found, now
    under_way = select(func.count()).where(mine, Fetch.finished_at.is_(None))
    if (await tx.scalar(under_way) or 0) >= _ASKED_MAX:
        raise TooMany(
            f"{_ASKED_MAX} pictures of this project are being fetched, as many as may be at once.",
            retry_after=_AGAIN,
        )
    made = ids.new()
    tx.add(Fetch(id=made, project_id=project_id, url=url, customer=customer))
    await tx.flush()
    tx.ring("fetches")
    return made, now


async def find(tx: Transaction, project_id: UUID, fetch_id: UUID) -> Fetch:
    """Return what became of a fetch so far. Raises `NotFound`."""
    mine = Fetch.id == fetch_id, Fetch.project_id == project_id
    found = await tx.scalar(select(Fetch).where(*mine))
    if found is None:
        raise NotFound("This fetch is over, and what came of it is forgotten; send the URL again.")
    return found


async def any_due(tx: Reader) -> bool:
    """Return whether any fetch is to be handed to a worker, or was tried too often."""
    return bool(await tx.read(WAITING, {}))


async def due(tx: Transaction) -> list[UUID]:
    """Lease the fetches that are to be handed to workers now, of each project in turn, and return them.

    A project has a few of them under way at once, so that slow hosts do not hold all. One that was tried in
    vain too often fails.
    """
    spent = update(Fetch).where(
        Fetch.finished_at.is_(None), Fetch.due_at <= func.now(), Fetch.tries >= _TRIES
    )
    over = spent.values(finished_at=func.now(), problem=_LOST).returning(Fetch.id)
    for each in await tx.scalars(over):
        tx.ring("fetch", str(each))
    rows = await tx.execute(_DUE, {"most": _OUT_MAX, "share": _SHARE, "lease": _LEASE})
    return [row.id for row in rows]


async def asked(tx: Transaction, fetch_id: UUID) -> Asked | None:
    """Return what is to be fetched; None when that is over, or nobody wants it any more."""
    open_ = Fetch.id == fetch_id, Fetch.finished_at.is_(None)
    found = await tx.scalar(select(Fetch).where(*open_))
    return None if found is None else Asked(found.id, found.project_id, found.url, found.customer)


async def keep(tx: Transaction, fetch_id: UUID, picture: Picture, kept: timedelta) -> bool:
    """Make the file of a picture that was fetched, judged, reserved and put; False if nobody wants it.

    Raises what `files.keep` does.
    """
    open_ = Fetch.id == fetch_id, Fetch.finished_at.is_(None)
    # Locked before the file, as by who forgets a customer: what is forgotten meanwhile makes no file.
    found = await tx.scalar(select(Fetch).where(*open_).with_for_update())
    if found is None:
        return False
    file, _ = await files.keep(tx, found.project_id, picture, kept)
    await _end(tx, fetch_id, file_id=file.id)
    return True


async def fail(tx: Transaction, fetch_id: UUID, problem: str) -> None:
    """Write why a picture was not kept, in a sentence for its sender."""
    await _end(tx, fetch_id, problem=problem)


async def forget(tx: Transaction, limit: int) -> int:
    """Delete fetches that are over for some minutes; return how many."""
    old = select(Fetch.id).where(Fetch.finished_at < func.now() - _REMEMBERED).limit(limit)
    gone = delete(Fetch).where(Fetch.id.in_(old)).returning(Fetch.id)
    return len((await tx.scalars(gone)).all())


async def _end(tx: Transaction, fetch_id: UUID, **values: object) -> None:
    open_ = update(Fetch).where(Fetch.id == fetch_id, Fetch.finished_at.is_(None))
    await tx.execute(open_.values(finished_at=func.now(), **values))
    tx.ring("fetch", str(fetch_id))


WAITING = prepared(
    text("SELECT id FROM fetches WHERE finished_at IS NULL AND due_at <= now() LIMIT 1")
)
# A window has no place in a statement that locks, so who is next is found first: those that are out already
# count as the first of their project.
_DUE = text("""
    WITH waiting AS (
        SELECT id, due_at > now() AS out,
               row_number() OVER (PARTITION BY project_id ORDER BY due_at > now() DESC, id) AS nth
          FROM fetches WHERE finished_at IS NULL)
    UPDATE fetches SET due_at = now() + :lease, tries = tries + 1
     WHERE id IN (
           SELECT fetches.id FROM fetches JOIN waiting USING (id)
            WHERE NOT out AND nth <= :share AND finished_at IS NULL AND due_at <= now()
            ORDER BY nth, fetches.id
            LIMIT greatest(0, :most - (SELECT count(*) FROM waiting WHERE out))
              FOR UPDATE OF fetches SKIP LOCKED)
    RETURNING id
""").bindparams(bindparam("lease", type_=Interval()))
