"""Keyrings: the secrets that sign webhooks, sealed; the present ones, and those they replaced.

Sealed text is one or more secrets with spaces between, the newest first: `whsec_… whsk_…`, or `whsec_…`
alone. A secret that a rotation replaces goes on signing, beside the new one, for a day. A second rotation
within that day keeps both old ones, because a receiver may still have either, and so does a third. A fourth
would take one from whoever has it, and is refused: a header of signatures must not grow without end. More
signatures do no harm: a receiver checks those of the secrets that it has, and ignores the others.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from models.errors import Conflict
from models.platform.jsonable import time
from models.platform.vault import Vault

OLD_FOR = timedelta(hours=24)
_OLD_MAX = 3  # rotations that still sign


@dataclass(frozen=True, slots=True)
class Keyring:
    """The secrets of one row, as they are stored; `context` is what seals them to that row."""

    context: bytes
    secret: bytes
    old: bytes | None
    rotated_at: datetime | None

    def old_is_valid(self, now: datetime) -> bool:
        """Return whether what was replaced still signs."""
        return self.rotated_at is not None and now < self.rotated_at + OLD_FOR

    def opened(self, vault: Vault, now: datetime) -> tuple[str, ...]:
        """Return every secret that signs at this moment, the present ones first.

        Raises `Unopenable` when another key sealed them.
        """
        sealed = [self.secret]
        if self.old is not None and self.old_is_valid(now):
            sealed.append(self.old)
        return tuple(" ".join(vault.open(each, self.context) for each in sealed).split())

    def rotated(self, vault: Vault, fresh: str, now: datetime) -> "Keyring":
        """Put a fresh secret (or pair) in front; what signed until now signs for another day.

        Raises `Conflict` while as many still sign as may.
        """
        replaced = [vault.open(self.secret, self.context)]
        if self.old is not None and self.old_is_valid(now):
            replaced += _rotations(vault.open(self.old, self.context))
        if self.rotated_at is not None and len(replaced) > _OLD_MAX:
            raise Conflict(
                f"{_OLD_MAX} secrets that rotations replaced still sign, as many as may at once: "
                f"use the newest one, or rotate again after {time(self.rotated_at + OLD_FOR)}."
            )
        old = vault.seal(" ".join(replaced), self.context)
        return Keyring(self.context, vault.seal(fresh, self.context), old, now)

    def resealed(self, vault: Vault, now: datetime) -> "Keyring":
        """Seal everything with the present key; what signs no more is dropped. Raises `Unopenable`."""
        old = self.old if self.old_is_valid(now) else None
        return Keyring(
            self.context,
            _reseal(vault, self.secret, self.context),
            None if old is None else _reseal(vault, old, self.context),
            self.rotated_at,
        )


def _rotations(opened: str) -> list[str]:
    """Split old secrets by rotation: each begins with its `whsec_`."""
    found: list[str] = []
    for secret in opened.split():
        if secret.startswith("whsec_") or not found:
            found.append(secret)
        else:
            found[-1] += f" {secret}"
    return found


def _reseal(vault: Vault, sealed: bytes, context: bytes) -> bytes:
    plain = vault.open(sealed, context)
    return sealed if vault.sealed_lately(sealed) else vault.seal(plain, context)
