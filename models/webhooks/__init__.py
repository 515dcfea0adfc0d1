"""Webhooks: endpoints, events, deliveries, and the signatures that receivers check (`signing`).

Owns the endpoints and what each wants to hear, the bodies that are sent, a delivery's life, the throttling
of `destinations`, and the rotation of secrets (`endpoint_secrets`).
Promises: an event is written in the transaction of what it tells, its body is serialised once, and
a delivery is made at least once. Never opens a connection: the worker does.
"""

__all__ = [
    "bodies",
    "deliveries",
    "destinations",
    "endpoint_secrets",
    "endpoints",
    "events",
    "notices",
    "resealing",
    "signing",
]
