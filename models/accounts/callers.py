"""Callers: which project and key a secret speaks for, and what they may do."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import ARRAY, Text, any_, select

from models.accounts.api_keys import parts_of
from models.accounts.living import LIVING
from models.errors import ScopeMissing
from models.platform.db.statements import Reader, Row, given, prepared
from models.schema import ApiKey, Project
from models.states import SCOPES, Scope

CALLERS = (
    select(
        ApiKey.id,
        ApiKey.public_id,
        ApiKey.project_id,
        ApiKey.secret_hash,
        ApiKey.scopes,
        ApiKey.root_id,
        Project.idempotency_required,
        Project.budgeted,
        Project.aliases,
        Project.suspended_at,
    )
    .outerjoin(Project, Project.id == ApiKey.project_id)
    .where(LIVING)
)
_OF_KEYS = prepared(CALLERS.where(ApiKey.public_id == any_(given("asked", ARRAY(Text)))))

NOBODY = UUID(int=0)  # the project of operators' keys, and the key of commands


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: a key of a project, and what it may do; or an operator's key, of `NOBODY`."""

    project_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    idempotency_required: bool
    budgeted: bool = False  # as of the look-up; code that relies on it reads the row
    aliases: Mapping[str, object] = field(default_factory=dict, hash=False)  # names of models
    suspended: bool = False
    root_id: UUID | None = None  # the first of the rotations that led to the key

    @property
    def is_operator(self) -> bool:
        """Whether the key is an operator's."""
        return self.project_id == NOBODY

    def may(self, scope: Scope) -> bool:
        """Return whether this key has the scope; `admin` has every one of a project's."""
        return scope in self.scopes or ("admin" in self.scopes and scope in SCOPES)

    def demand(self, scope: Scope) -> None:
        """Raise `ScopeMissing` unless this key has the scope."""
        if not self.may(scope):
            raise ScopeMissing(
                f"This API key lacks the scope {scope!r}; it has "
                f"{', '.join(sorted(self.scopes)) or 'none'}. Use a key that has it."
            )


def command(project_id: UUID) -> Caller:
    """Return who acts on a project by a command: without a key, and with every right to it."""
    return Caller(project_id, NOBODY, frozenset({"admin"}), idempotency_required=False)


async def caller(tx: Reader, key: str) -> Caller | None:
    """Return whose key this is; None when it is mistyped, unknown, revoked or expired."""
    return (await callers(tx, [key])).get(key)


async def callers(tx: Reader, keys: Sequence[str]) -> dict[str, Caller]:
    """Return whose each of these keys is, in one query; unknown, revoked and expired ones are left out.

    A statement of the driver's own: whoever comes with garbage has it run, as often as it likes.
    """
    split = {key: parts for key in keys if (parts := parts_of(key)) is not None}
    rows = await tx.read(_OF_KEYS, {"asked": [public_id for public_id, _ in split.values()]})
    found = {row["public_id"]: row for row in rows}
    return {
        key: caller_of(row)
        for key, (public_id, secret_hash) in split.items()
        if (row := found.get(public_id)) and hmac.compare_digest(row["secret_hash"], secret_hash)
    }


def caller_of(row: Row) -> Caller:
    """Read who is asking from a row of `CALLERS`."""
    return Caller(
        row["project_id"] or NOBODY,
        row["id"],
        frozenset(row["scopes"]),
        bool(row["idempotency_required"]),
        bool(row["budgeted"]),
        row["aliases"] or {},
        suspended=row["suspended_at"] is not None,
        root_id=row["root_id"],
    )
