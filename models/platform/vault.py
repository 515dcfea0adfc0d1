"""Secrets at rest, and signatures that only this installation can make.

All keys are derived (HKDF, RFC 5869) from DARKROOM_SECRET. DARKROOM_SECRET_OLD only reads: what was
sealed or signed before a rotation stays good while it is set.

A sealed secret: a version byte, four bytes that name the key, a nonce of 12 bytes, AES-256-GCM.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from models.errors import DarkroomError
from models.settings import Settings

_VERSION = b"\x01"
_NAME_BYTES = 4
_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: random nonces of 96 bits
_HEAD_BYTES = len(_VERSION) + _NAME_BYTES
_MAC_BYTES = 16


class Unopenable(DarkroomError):
    """A sealed secret cannot be opened: another key sealed it, or it was changed or moved."""


class Vault:
    """Seals and signs with `secret`; opens and verifies with `secret` and `old`."""

    def __init__(self, secret: str, old: str | None = None) -> None:
        self._keys = _Keys.derive(secret)
        self._known = (self._keys,) if old is None else (self._keys, _Keys.derive(old))

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make the vault of this installation, from DARKROOM_SECRET and DARKROOM_SECRET_OLD."""
        old = settings.secret_old
        return cls(settings.secret.get_secret_value(), old.get_secret_value() if old else None)

    def __repr__(self) -> str:
        return f"Vault({len(self._known)} keys)"

    @property
    def names(self) -> tuple[bytes, ...]:
        """The names of the keys that open: the four bytes that follow the first of what is sealed."""
        return tuple(keys.name for keys in self._known)

    def seal(self, plain: str, context: bytes) -> bytes:
        """Encrypt a secret; only the same context (say, its row's id) opens it again."""
        head = _VERSION + self._keys.name
        nonce = token_bytes(_NONCE_BYTES)
        return head + nonce + self._keys.cipher.encrypt(nonce, plain.encode(), head + context)

    def open(self, sealed: bytes, context: bytes) -> str:
        """Decrypt what `seal` made, or raise `Unopenable`."""
        head, rest = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        nonce, box = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        for keys in self._known:
            if head != _VERSION + keys.name:
                continue
            try:
                return keys.cipher.decrypt(nonce, box, head + context).decode()
            except (InvalidTag, ValueError):
                break
        raise Unopenable("The sealed secret does not open with DARKROOM_SECRET or its old one.")

    def sealed_lately(self, sealed: bytes) -> bool:
        """Return whether the present secret sealed this, and not the old one."""
        return sealed.startswith(_VERSION + self._keys.name)

    def mac(self, message: bytes) -> str:
        """Sign a message: HMAC-SHA256 cut to 128 bits, as 22 characters that suit a URL."""
        return self._keys.mac(message)

    def macs(self, message: bytes) -> list[str]:
        """Return what `mac` makes of a message, and what it made with the secret before, if that is set."""
        return [keys.mac(message) for keys in self._known]

    def verify(self, message: bytes, mac: str) -> bool:
        """Return whether `mac` made this signature, in constant time."""
        given = mac.encode(errors="replace")
        matches = [hmac.compare_digest(keys.mac(message).encode(), given) for keys in self._known]
        return any(matches)


@dataclass(frozen=True)
class _Keys:
    name: bytes
    cipher: AESGCM = field(repr=False)
    signing: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: str) -> Self:
        return cls(
            name=_derive(secret, b"darkroom vault name", _NAME_BYTES),
            cipher=AESGCM(_derive(secret, b"darkroom vault sealing", 32)),
            signing=_derive(secret, b"darkroom vault signing", 32),
        )

    def mac(self, message: bytes) -> str:
        digest = hmac.digest(self.signing, message, hashlib.sha256)[:_MAC_BYTES]
        return urlsafe_b64encode(digest).decode().rstrip("=")


def _derive(secret: str, purpose: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(secret.encode())
