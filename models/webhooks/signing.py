"""Signatures of webhooks, by Standard Webhooks: `v1` (HMAC-SHA256) and `v1a` (ed25519).

The scheme: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
A secret is text: `whsec_` is shared, `whsk_` is private, `whpk_` is the public half of a `whsk_`;
what follows is base64. A private key is written as Svix, where the scheme began, writes it: 32
bytes of seed, then the 32 bytes of the public key.
"""

import hashlib
import hmac
import secrets as randomness
from base64 import b64decode, b64encode
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SHARED, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"

_SECRET_BYTES = 32  # the scheme asks for 24 to 64
_SEED_BYTES = 32  # RFC 8032, 5.1.5


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one signature for each secret, space-separated.

    `timestamp` is of this try, in unix seconds. Raises `ValueError` for what is not a secret.
    """
    message = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_sign_one(secret, message) for secret in secrets)


def new_secret() -> str:
    """Make a shared secret: `whsec_` and 32 random bytes."""
    return SHARED + b64encode(randomness.token_bytes(_SECRET_BYTES)).decode()


def new_keypair() -> tuple[str, str]:
    """Make an ed25519 pair: the private `whsk_…` and the public `whpk_…`."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    private = PRIVATE + b64encode(key.private_bytes_raw() + public).decode()
    return private, PUBLIC + b64encode(public).decode()


def public_key(private: str) -> str:
    """Return the `whpk_…` that verifies what this `whsk_…` signs; raises `ValueError` for others."""
    if not private.startswith(PRIVATE):
        raise ValueError("not a private key: it must start with whsk_")
    public = _private_key(private).public_key().public_bytes_raw()
    return PUBLIC + b64encode(public).decode()


def _sign_one(secret: str, message: bytes) -> str:
    if secret.startswith(SHARED):
        key = b64decode(secret.removeprefix(SHARED), validate=True)
        return "v1," + b64encode(hmac.digest(key, message, hashlib.sha256)).decode()
    if secret.startswith(PRIVATE):
        return "v1a," + b64encode(_private_key(secret).sign(message)).decode()
    raise ValueError("not a signing secret: it must start with whsec_ or whsk_")


def _private_key(private: str) -> Ed25519PrivateKey:
    raw = b64decode(private.removeprefix(PRIVATE), validate=True)
    return Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
