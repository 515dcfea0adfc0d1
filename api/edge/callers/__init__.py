"""Callers: whose key or session a request has, and how often it may ask.

`callers` knows those of the last seconds, and asks Postgres about all others together, `rates` counts,
`shares` how much of each project is under way, and `uses` when each key was last used.
Promises: a key that was revoked is refused within seconds, and a secret that nobody has costs no query of
its own. Decides nothing about what a caller may do.
"""

from api.edge.callers.callers import COOKIES, Callers, owner_of, quota_of, session_token

__all__ = ["COOKIES", "Callers", "owner_of", "quota_of", "rates", "session_token", "shares"]
