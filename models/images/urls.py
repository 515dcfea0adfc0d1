"""Signed URLs of images: a client that has one needs no key, for 7 to 8 days or until the retention ends.

The signature is an HMAC of path and expiry, under a key derived from DARKROOM_SECRET (`Vault.mac`).
"""

from datetime import UTC, datetime, timedelta

from models.platform.vault import Vault
from models.schema import Image

_LIFE = timedelta(days=7)


def sign(vault: Vault, base: str, path: str, until: datetime) -> str:
    """Return the URL of an image's path below `base`, which needs no key until then."""
    expiry = int(until.timestamp())
    return f"{base.rstrip('/')}{path}?exp={expiry}&sig={vault.mac(signed_message(path, expiry))}"


def is_signed(vault: Vault, path: str, expiry: int, signature: str) -> bool:
    """Return whether this installation made the signature for this path and expiry, which may be over."""
    return vault.verify(signed_message(path, expiry), signature)


def end(image: Image, now: datetime) -> datetime:
    """Return when a URL that is signed now ends: rounded to the day, so that it is the same all day."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return min(today + _LIFE + timedelta(days=1), image.expires_at).replace(microsecond=0)


def signed_message(path: str, expiry: int) -> bytes:
    """Return the bytes that the signature covers."""
    return f"{path}\n{expiry}".encode()
