"""Sessions of browsers, and the links that open one: each acts as the API key it was opened with.

A token is `drs_` and 40 letters (200 bits); only its SHA-256 is kept. A session ends 8 hours after its
sign-in at the latest, when its key ends, or when somebody signs out.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    LargeBinary,
    any_,
    delete,
    func,
    insert,
    select,
    update,
)

from models import ids
from models.accounts import api_keys
from models.accounts.callers import CALLERS, Caller, caller_of
from models.audit_log import actors, recording
from models.platform.db import Transaction
from models.platform.db.statements import Reader, given, prepared
from models.schema import ApiKey, Project, Session
from models.states import SessionKind

LIFE = timedelta(hours=8)
LINK_LIFE = timedelta(seconds=60)
_MOST = 100  # sessions and links of one key
_OVERLAP = timedelta(seconds=60)  # for requests that are under way with the token before
_FORM = re.compile(r"drs_[0-9a-z]{40}")


@dataclass(frozen=True, slots=True)
class Who:
    """What a page tells of who is signed in: the project, if any, and the key without its secret."""

    project: str
    project_id: UUID | None
    key: str
    key_id: UUID


def new_token() -> str:
    """Make a fresh token, of a session or a link."""
    return f"drs_{api_keys.letters(40)}"


def well_formed(token: str) -> bool:
    """Return whether this may be a token at all: no query is needed for any other."""
    return _FORM.fullmatch(token) is not None


def csrf_token(token: str) -> str:
    """Return what a page sends beside its cookie with every write; it does not tell the session's token."""
    return sha256(f"csrf:{token}".encode()).hexdigest()[:40]


def has_csrf_token(token: str, given: str) -> bool:
    """Return whether this is the session's CSRF token, in a time that tells nothing about it."""
    return secrets.compare_digest(csrf_token(token).encode(), given.encode(errors="replace"))


async def create(tx: Transaction, key_id: UUID, kind: SessionKind, token: str) -> datetime:
    """Open a session of a key, or a link that will; returns until when. The oldest of too many go."""
    await _make_room(tx, key_id)
    life = LIFE if kind == "browser" else LINK_LIFE
    made = await tx.scalars(
        insert(Session)
        .values(
            id=ids.new(),
            key_id=key_id,
            kind=kind,
            token_hash=_hash(token),
            expires_at=func.now() + life,
        )
        .returning(Session.expires_at)
    )
    ends = made.one()
    project_id = await tx.scalar(select(ApiKey.project_id).where(ApiKey.id == key_id))
    key, facts = ids.text(ids.KEY, key_id), {"kind": kind}
    await recording.record(tx, "session.opened", key, project_id=project_id, after=facts)
    return ends


async def redeem(tx: Transaction, link: str, token: str) -> Caller | None:
    """Open a session by a link, which is used up; None when it was used, or its time or its key is over."""
    used = delete(Session).where(_is(link, "link")).returning(Session.key_id)
    key_id = (await tx.scalars(used)).one_or_none()
    if key_id is None:
        return None
    actors.enter(replace(actors.present(), acting="session", key_id=key_id))
    await create(tx, key_id, "browser", token)
    return (await callers(tx, [token])).get(token)


async def renew(tx: Transaction, token: str, fresh: str) -> datetime | None:
    """Put a fresh token in a session's place, for the rest of its life; None when it has ended.

    The token before is good for a minute more: requests may be under way with it.
    """
    found = await tx.execute(
        select(Session.id, Session.key_id, Session.expires_at)
        .where(_is(token, "browser"))
        .with_for_update()
    )
    row = found.one_or_none()
    if row is None:
        return None
    await _make_room(tx, row.key_id, but=row.id)
    values = {"id": ids.new(), "key_id": row.key_id, "kind": "browser"}
    await tx.execute(
        insert(Session).values(**values, token_hash=_hash(fresh), expires_at=row.expires_at)
    )
    soon = func.least(row.expires_at, func.now() + _OVERLAP)
    await tx.execute(update(Session).where(Session.id == row.id).values(expires_at=soon))
    ends: datetime = row.expires_at
    return ends


async def forget(tx: Transaction, limit: int) -> int:
    """Delete sessions and links that are over, so many at most; returns how many."""
    over = select(Session.id).where(Session.expires_at < func.now()).order_by(Session.expires_at)
    some = over.limit(limit).with_for_update(skip_locked=True)
    gone = delete(Session).where(Session.id.in_(some)).returning(Session.id)
    return len((await tx.scalars(gone)).all())


async def end(tx: Transaction, token: str) -> None:
    """Sign out."""
    gone = delete(Session).where(Session.token_hash == _hash(token)).returning(Session.key_id)
    key_id = await tx.scalar(gone)
    if key_id is not None:
        project_id = await tx.scalar(select(ApiKey.project_id).where(ApiKey.id == key_id))
        key = ids.text(ids.KEY, key_id)
        await recording.record(tx, "session.ended", key, project_id=project_id)


async def callers(tx: Reader, tokens: Sequence[str]) -> dict[str, Caller]:
    """Return whom each of these sessions acts as, in one query; sessions that ended are left out."""
    hashes = {_hash(token): token for token in tokens}
    rows = await tx.read(_OF_TOKENS, {"asked": list(hashes)})
    return {hashes[bytes(row["token_hash"])]: caller_of(row) for row in rows}


async def describe(tx: Transaction, caller: Caller) -> Who:
    """Return the names of a caller's project and key."""
    stmt = select(Project.name, ApiKey.name).outerjoin(Project, Project.id == ApiKey.project_id)
    project, key = (await tx.execute(stmt.where(ApiKey.id == caller.key_id))).one()
    own = None if caller.is_operator else caller.project_id
    return Who(project or "operator", own, key, caller.key_id)


async def expiry(tx: Transaction, token: str) -> datetime | None:
    """Return when a session ends; None when it has."""
    ends: datetime | None = await tx.scalar(select(Session.expires_at).where(_is(token, "browser")))
    return ends


async def _make_room(tx: Transaction, key_id: UUID, *, but: UUID | None = None) -> None:
    """Delete what a key has beyond so many sessions and links, this one among them; the oldest first."""
    mine = select(Session.id).where(Session.key_id == key_id, Session.id.is_distinct_from(but))
    many = mine.order_by(Session.id.desc()).offset(_MOST - 1).with_for_update(skip_locked=True)
    await tx.execute(delete(Session).where(Session.id.in_(many)))


def _is(token: str, kind: SessionKind) -> ColumnElement[bool]:
    living = Session.expires_at > func.now()
    return (Session.token_hash == _hash(token)) & (Session.kind == kind) & living


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


_OF_TOKENS = prepared(
    CALLERS.add_columns(Session.token_hash)
    .join(Session, Session.key_id == ApiKey.id)
    .where(
        Session.token_hash == any_(given("asked", ARRAY(LargeBinary))),
        Session.kind == "browser",
        Session.expires_at > func.now(),
    )
)
