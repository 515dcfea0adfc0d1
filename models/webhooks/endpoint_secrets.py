"""The secrets of an endpoint: which sign, which verify, and how they are sealed."""

from datetime import datetime
from uuid import UUID

from models.accounts.keyrings import Keyring
from models.platform.vault import Vault
from models.schema import Endpoint
from models.webhooks import signing

_CONTEXT = b"endpoint:"


def keyring(endpoint: Endpoint) -> Keyring:
    """Return what the endpoint keeps of its secrets."""
    context = context_of(endpoint.id)
    return Keyring(context, endpoint.secret, endpoint.secret_old, endpoint.rotated_at)


def secrets(vault: Vault, endpoint: Endpoint, now: datetime) -> tuple[str, ...]:
    """Return the endpoint's own secrets that sign: `whsec_…`, `whsk_…`, then the old ones.

    Where the project's secret signs, the private halves of its pairs alone do beside that.
    """
    own = keyring(endpoint).opened(vault, now)
    if not endpoint.project_secret:
        return own
    return tuple(each for each in own if each.startswith(signing.PRIVATE))


def public_keys(vault: Vault, endpoint: Endpoint, now: datetime) -> list[str]:
    """Return the `whpk_…` that verify its `v1a` signatures: the present one, then old ones while they sign.

    An endpoint that is older than its pair has none until its secret is rotated.
    """
    held = secrets(vault, endpoint, now)
    return [signing.public_key(each) for each in held if each.startswith(signing.PRIVATE)]


def context_of(endpoint_id: UUID) -> bytes:
    """Return what an endpoint's secrets are sealed for: they open as nobody else's."""
    return _CONTEXT + endpoint_id.bytes


def with_pair(secret: str) -> str:
    """Return a shared secret and the private half of a fresh pair, as they are sealed together."""
    private, _ = signing.new_keypair()
    return f"{secret} {private}"
