"""Projects, and the API keys that speak for them.

A key is `dr_live_<id>_<secret><crc>`: the id finds the row, the CRC refuses a typo without a query, and
of the secret (200 bits) only the SHA-256 is stored.
"""

import hmac
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Text, any_, bindparam, func, insert, or_, select, update

from models import ids
from models.accounts.keyrings import OLD_FOR, Keyring
from models.audit_log import recording
from models.errors import Conflict, InvalidRequest, Misconfigured, NotFound, ScopeMissing
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.platform.vault import Vault
from models.schema import ApiKey, Project
from models.states import SCOPES, AuditAction, Scope

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_FORM = re.compile(r"dr_live_([0-9a-z]{12})_([0-9a-z]{40})([0-9a-z]{7})")
_SECRET_CONTEXT = b"project:"
_LIVING = ApiKey.revoked_at.is_(None) & or_(
    ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()
)
CALLERS = (
    select(
        ApiKey.id,
        ApiKey.public_id,
        ApiKey.project_id,
        ApiKey.secret_hash,
        ApiKey.scopes,
        Project.idempotency_required,
        Project.budgeted,
        Project.aliases,
        Project.suspended_at,
    )
    .outerjoin(Project, Project.id == ApiKey.project_id)
    .where(_LIVING)
)
NOBODY = UUID(int=0)
"""In place of the project of an operator's key: no project has this id, and nothing belongs to it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: a key of a project, and what it may do; or an operator's key, of `NOBODY`."""

    project_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    idempotency_required: bool
    budgeted: bool = False  # as of the look-up; whoever relies on it asks the row
    aliases: Mapping[str, object] = field(default_factory=dict, hash=False)  # names of models
    suspended: bool = False

    @property
    def is_operator(self) -> bool:
        """Whether the key is an operator's."""
        return self.project_id == NOBODY

    def demand(self, scope: Scope) -> None:
        """Raise `ScopeMissing` unless this key has the scope; `admin` has every one of a project's."""
        is_admin = "admin" in self.scopes and scope in SCOPES
        if scope not in self.scopes and not is_admin:
            raise ScopeMissing(
                f"This API key lacks the scope {scope!r}; it has "
                f"{', '.join(sorted(self.scopes)) or 'none'}. Use a key that has it."
            )


async def create(tx: Transaction, vault: Vault, name: str, webhook_secret: str) -> UUID:
    """Create a project, or give the one that already has this name."""
    project_id = ids.new()
    existing = await tx.scalar(select(Project.id).where(Project.name == name))
    if existing is not None:
        return existing
    secret = sealed(vault, project_id, webhook_secret)
    await tx.execute(insert(Project).values(id=project_id, name=name, webhook_secret=secret))
    named = ids.text(ids.PROJECT, project_id)
    await recording.record(
        tx, "project.created", named, project_id=project_id, after={"name": name}
    )
    return project_id


def sealed(vault: Vault, project_id: UUID, webhook_secret: str) -> bytes:
    """Seal the secret that signs a project's own webhooks."""
    return vault.seal(webhook_secret, _SECRET_CONTEXT + project_id.bytes)


async def find(tx: Transaction, name_or_id: str) -> UUID:
    """Find a project by its name or its `prj_…` id."""
    named = Project.name == name_or_id
    parsed = ids.parse(ids.PROJECT, name_or_id)
    where = named if parsed is None else or_(named, Project.id == parsed)
    found = await tx.scalar(select(Project.id).where(where))
    if found is None:
        raise NotFound(f"There is no project {name_or_id!r}; create it with create-project.")
    return found


async def webhook_secrets(tx: Transaction, vault: Vault, project_id: UUID) -> tuple[str, ...]:
    """Return the secrets that sign this project's own webhooks: the current one first."""
    found = await tx.get_one(Project, project_id)
    return webhook_keyring(found).opened(vault, datetime.now(UTC))


async def rotate_webhook_secret(
    tx: Transaction, vault: Vault, project_id: UUID, fresh: str
) -> datetime:
    """Sign with a fresh secret from now on, and with the present one too for 24 hours: gives until when."""
    found = await tx.get_one(Project, project_id, with_for_update={"key_share": True})
    now = datetime.now(UTC)
    ring = webhook_keyring(found).rotated(vault, fresh, now)
    await tx.execute(
        update(Project)
        .where(Project.id == project_id)
        .values(webhook_secret=ring.secret, webhook_secret_old=ring.old, webhook_rotated_at=now)
    )
    named = ids.text(ids.PROJECT, project_id)
    await recording.record(tx, "project.secret_rotated", named, project_id=project_id)
    return now + OLD_FOR


def webhook_keyring(project: Project) -> Keyring:
    """Return what the project keeps of its webhook secrets."""
    return Keyring(
        _SECRET_CONTEXT + project.id.bytes,
        project.webhook_secret,
        project.webhook_secret_old,
        project.webhook_rotated_at,
    )


def new_key() -> str:
    """Make a fresh API key. It is shown once; only its hash is kept."""
    body = f"dr_live_{letters(12)}_{letters(40)}"
    return body + _crc(body)


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

    `root_id` is the first of the rotations that lead to it, whose budgets are its own too.
    """
    public_id, secret_hash = _split(key) or (None, None)
    if public_id is None or secret_hash is None:
        raise Misconfigured(
            "The given API key has not the form dr_live_<id>_<secret><crc>, or a typo; "
            "`python -m models new-key` prints one."
        )
    existing = (
        await tx.execute(select(ApiKey).where(ApiKey.public_id == public_id))
    ).scalar_one_or_none()
    if existing is not None:
        same = hmac.compare_digest(existing.secret_hash, secret_hash)
        if not same or existing.project_id != project_id or existing.revoked_at is not None:
            raise Misconfigured("The given API key was used before and is revoked, or another's.")
        return existing, False
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


async def _log(
    tx: Transaction, action: AuditAction, key: ApiKey, after: Mapping[str, object]
) -> None:
    subject = ids.text(ids.KEY, key.id)
    await recording.record(tx, action, subject, project_id=key.project_id, after=after)


def well_formed(key: str) -> bool:
    """Return whether this may be a key at all, and has no typo: no query is needed for any other."""
    return _split(key) is not None


async def caller(tx: Transaction, key: str) -> Caller | None:
    """Return whose key this is; None when it is mistyped, unknown, revoked or expired."""
    return (await callers(tx, [key])).get(key)


async def callers(tx: Transaction, keys: Sequence[str]) -> dict[str, Caller]:
    """Return whose each of these keys is, in one query; unknown, revoked and expired ones are left out."""
    split = {key: parts for key in keys if (parts := _split(key)) is not None}
    asked = bindparam("asked", [public_id for public_id, _ in split.values()], type_=ARRAY(Text))
    rows = await tx.execute(CALLERS.where(ApiKey.public_id == any_(asked)))
    found = {row.public_id: row for row in rows}
    return {
        key: caller_of(row)
        for key, (public_id, secret_hash) in split.items()
        if (row := found.get(public_id)) and hmac.compare_digest(row.secret_hash, secret_hash)
    }


def caller_of(row: Row[*tuple[Any, ...]]) -> Caller:
    """Read who is asking from a row of `CALLERS`."""
    return Caller(
        row.project_id or NOBODY,
        row.id,
        frozenset(row.scopes),
        bool(row.idempotency_required),
        bool(row.budgeted),
        row.aliases or {},
        suspended=row.suspended_at is not None,
    )


async def list_keys(tx: Transaction, project_id: UUID) -> list[ApiKey]:
    """Return every key of a project, newest first; revoked ones too."""
    rows = select(ApiKey).where(ApiKey.project_id == project_id).order_by(ApiKey.id.desc())
    return list((await tx.scalars(rows)).all())


async def is_living(tx: Transaction, key_id: UUID) -> bool:
    """Return whether a key still works: it was neither revoked, nor has it expired."""
    return bool(await tx.scalar(select(_LIVING).where(ApiKey.id == key_id)))


async def rotate_key(
    tx: Transaction, project_id: UUID, key_id: UUID, grace_seconds: int, fresh: str
) -> ApiKey:
    """Register a fresh key like this one, which ends after a grace; its budgets are the fresh one's too.

    Raises `NotFound`, and `Conflict` for a key that has ended: somebody has taken it back, and a rotation
    must not give its scopes again.
    """
    where = (ApiKey.id == key_id) & (ApiKey.project_id == project_id)
    if await tx.scalar(select(_LIVING).where(where).with_for_update(key_share=True)) is False:
        raise Conflict("The key was revoked, or has expired; create a new one at POST /v1/keys.")
    old = await expire_key(tx, project_id, key_id, grace_seconds)
    root_id, scopes = old.root_id or old.id, tuple(old.scopes)
    made, _ = await _register(tx, project_id, old.name, scopes, fresh, root_id=root_id)
    facts = {"replaced_by": ids.text(ids.KEY, made.id), "grace": grace_seconds}
    await _log(tx, "key.rotated", old, facts)
    return made


async def revoke_key(tx: Transaction, key_id: UUID, project_id: UUID | None = None) -> ApiKey:
    """Revoke a key at once; `project_id` is the project that asks, None an operator. Raises `NotFound`."""
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


def _split(key: str) -> tuple[str, bytes] | None:
    match = _FORM.fullmatch(key)
    if match is None or _crc(key[: match.start(3)]) != match[3]:
        return None
    return match[1], sha256(match[2].encode()).digest()


def _crc(body: str) -> str:
    number = zlib.crc32(body.encode())
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(30, -1, -5))
