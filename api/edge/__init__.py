"""What every request passes before its route: connection, size, time, key, rate; and problem+json.

`middleware` is the way in; `body_limits` bounds a body's size and time, and `byte_budget` what all bodies
of a process hold; `connections` and `callers` see to the rest.
Promises: every bound holds before memory or the database is used, and every refusal is problem+json
with a code. Knows no noun of the API.
"""

__all__ = [
    "body_limits",
    "callers",
    "connections",
    "middleware",
    "problems",
    "route",
]
