"""Tenants: projects, their API keys and sessions, their caps, and the secrets that sign in their name.

Promises: of an API key or a session only a hash is kept, and a secret is stored sealed. Never knows
about jobs.
"""

__all__ = [
    "api_keys",
    "callers",
    "caps",
    "expiring",
    "idempotency",
    "keyrings",
    "living",
    "naming",
    "operators",
    "projects",
    "sessions",
]
