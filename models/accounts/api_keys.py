"""API keys: what they look like, whom they speak for, and until when.

A key is `dr_live_<id>_<secret><crc>`: the id finds the row, the CRC refuses a typo without a query, and
of the secret (200 bits) only the SHA-256 is stored.
"""

import hmac
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from uuid import UUID

from sqlalchemy import func, insert, select, update

from models import ids
from models.accounts import living
from models.accounts.living import LIVING
from models.audit_log import recording
from models.errors import Conflict, InvalidRequest, Misconfigured, NotFound
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.schema import ApiKey
from models.states import SCOPES, AuditAction

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

_FORM = re.compile(r"dr_live_([0-9a-z]{12})_([0-9a-z]{40})([0-9a-z]{7})")


def new_key() -> str:
    """Make a fresh API key. It is shown once; only its hash is kept."""
    body = f"dr_live_{letters(12)}_{letters(40)}"
    return body + crc(body)


def letters(count: int) -> str:
    """Make a secret of this many letters and digits, of five bits each."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))


async def create_key(
    tx: Transaction,
    project_id: UUID,
    name: str,
    scopes: tuple[str, ...],
    key: str,
) -> ApiKey:
    """Register a key; one that this project already has is left as it is.

    Raises `InvalidRequest` for an unknown scope and `Misconfigured` for a key of another form.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InvalidRequest(
            f"Unknown scope {', '.join(unknown) or '(none given)'}; use {', '.join(SCOPES)}."
        )
    return await register(tx, project_id, name, scopes, key)


async def register(
    tx: Transaction, project_id: UUID | None, name: str, scopes: tuple[str, ...], key: str
) -> ApiKey:
    """Register a key of these scopes, of a project or of no project; raises as `create_key`."""
    made, is_new = await _register(tx, project_id, name, scopes, key)
    if is_new:
        facts = {"name": name, "hint": hint(made), "scopes": made.scopes}
        await _log(tx, "key.created", made, facts)
    return made


def hint(key: ApiKey) -> str:
    """Return what a key begins with: enough to know it by, and of no use."""
    return f"dr_live_{key.public_id}_…"


def show_key(key: ApiKey) -> Json:
    """Return a key as it is shown: without its secret."""
    return {
        "id": ids.text(ids.KEY, key.id),
        "object": "api_key",
        "name": key.name,
        "hint": hint(key),
        "scopes": key.scopes,
        "created_at": time(key.created_at),
        "expires_at": time(key.expires_at),
        "revoked_at": time(key.revoked_at),
        "last_used_at": time(key.last_used_at),
    }


async def _register(
    tx: Transaction,
    project_id: UUID | None,
    name: str,
    scopes: tuple[str, ...],
    key: str,
    *,
    root_id: UUID | None = None,
) -> tuple[ApiKey, bool]:
    """Insert a key; return it, and whether it is new.

    `root_id` is the first of the rotations that lead to it, whose budgets are its own too. The project's
    row lets one at a time make keys; it is taken first, for a lock that grows meets others that do.
    """
    public_id, secret_hash = parts_of(key) or (None, None)
    if public_id is None or secret_hash is None:
        raise Misconfigured(
            "The given API key has not the form dr_live_<id>_<secret><crc>, or a typo; "
            "`python -m models new-key` prints one."
        )
    existing = await tx.scalar(select(ApiKey).where(ApiKey.public_id == public_id))
    if existing is not None:
        _demand_same(existing, project_id, secret_hash)
        return existing, False
    await living.lock(tx, project_id)
    made = await tx.scalars(
        insert(ApiKey)
        .values(
            id=ids.new(),
            project_id=project_id,
            name=name,
            public_id=public_id,
            secret_hash=secret_hash,
            scopes=list(dict.fromkeys(scopes)),
            root_id=root_id,
        )
        .returning(ApiKey)
    )
    return made.one(), True


def _demand_same(existing: ApiKey, project_id: UUID | None, secret_hash: bytes) -> None:
    """Raise `Misconfigured` unless a key is this project's, has this secret, and was not revoked."""
    same = hmac.compare_digest(existing.secret_hash, secret_hash)
    if not same or existing.project_id != project_id or existing.revoked_at is not None:
        raise Misconfigured("The given API key was used before and is revoked, or another's.")


async def _log(
    tx: Transaction, action: AuditAction, key: ApiKey, after: Mapping[str, object]
) -> None:
    subject = ids.text(ids.KEY, key.id)
    await recording.record(tx, action, subject, project_id=key.project_id, after=after)


def well_formed(key: str) -> bool:
    """Return whether this may be a key at all, and has no typo: no query is needed for any other."""
    return parts_of(key) is not None


async def list_keys(tx: Transaction, project_id: UUID) -> list[ApiKey]:
    """Return every key of a project, newest first; revoked ones too."""
    rows = select(ApiKey).where(ApiKey.project_id == project_id).order_by(ApiKey.id.desc())
    return list((await tx.scalars(rows)).all())


async def used(tx: Transaction, key_ids: Sequence[UUID]) -> None:
    """Write down that these keys were used just now; one that somebody else has in hand, next time."""
    some = select(ApiKey.id).where(ApiKey.id.in_(key_ids)).order_by(ApiKey.id)
    free = some.with_for_update(key_share=True, skip_locked=True)
    await tx.execute(update(ApiKey).where(ApiKey.id.in_(free)).values(last_used_at=func.now()))


async def rotate_key(
    tx: Transaction, project_id: UUID, key_id: UUID, grace_seconds: int, fresh: str
) -> ApiKey:
    """Register a fresh key like this one, which ends after a grace; its budgets are the fresh one's too.

    Raises `NotFound`, and `Conflict` for a key that has ended: somebody has taken it back, and a rotation
    must not give its scopes again.
    """
    where = (ApiKey.id == key_id) & (ApiKey.project_id == project_id)
    if await tx.scalar(select(LIVING).where(where).with_for_update(key_share=True)) is False:
        raise Conflict("The key was revoked, or has expired; create a new one at POST /v1/keys.")
    old = await expire_key(tx, project_id, key_id, grace_seconds)
    root_id, scopes = old.root_id or old.id, tuple(old.scopes)
    made, _ = await _register(tx, project_id, old.name, scopes, fresh, root_id=root_id)
    facts = {"replaced_by": ids.text(ids.KEY, made.id), "grace": grace_seconds}
    await _log(tx, "key.rotated", old, facts)
    return made


async def revoke_key(tx: Transaction, key_id: UUID, project_id: UUID | None = None) -> ApiKey:
    """Revoke a key at once; `project_id` is the project that asks, None an operator. Raises `NotFound`."""
    owner = select(ApiKey.project_id).where(ApiKey.id == key_id)
    await living.lock(tx, project_id or await tx.scalar(owner))
    revoked = await expire_key(tx, project_id, key_id)
    if revoked.revoked_at == await tx.scalar(select(func.now())):
        await _log(tx, "key.revoked", revoked, {"name": revoked.name, "hint": hint(revoked)})
    return revoked


async def expire_key(
    tx: Transaction, project_id: UUID | None, key_id: UUID, grace_seconds: int = 0
) -> ApiKey:
    """End a key at once, or let it expire after a grace. Raises `NotFound`.

    A grace never lengthens a key's life: LEAST passes over a NULL, not over an earlier end.
    """
    grace = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, grace_seconds)
    change = (
        {"expires_at": func.least(ApiKey.expires_at, grace)}
        if grace_seconds
        else {"revoked_at": func.coalesce(ApiKey.revoked_at, func.now())}
    )
    own = [] if project_id is None else [ApiKey.project_id == project_id]
    found = (
        await tx.scalars(
            update(ApiKey).where(ApiKey.id == key_id, *own).values(change).returning(ApiKey)
        )
    ).one_or_none()
    if found is None:
        raise NotFound(
            "There is no such API key." if project_id is None
            else "There is no such API key in this project."
        )  # fmt: skip
    return found


def parts_of(key: str) -> tuple[str, bytes] | None:
    """Return the public id of a key and the hash of its secret; None for what has a typo."""
    match = _FORM.fullmatch(key)
    if match is None or crc(key[: match.start(3)]) != match[3]:
        return None
    return match[1], sha256(match[2].encode()).digest()


def crc(body: str) -> str:
    """Return the checksum that ends a key."""
    number = zlib.crc32(body.encode())
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(30, -1, -5))
