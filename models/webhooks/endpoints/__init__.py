"""Endpoints: the URLs that a project registered for events, each with secrets of its own.

Owns what a project may do with its endpoints, how they are found, and their health: when one is
disabled, and when it is well again.
Promises: each change is in the audit log, in the same transaction. What changes an endpoint or moves
its deliveries locks its row first, then the deliveries, then the destination, so that no two deadlock.
"""

from models.webhooks.endpoints.counting import count
from models.webhooks.endpoints.finding import find, of, take, there, wanting, wants
from models.webhooks.endpoints.health import BY_ITS_PROJECT, disable, recover
from models.webhooks.endpoints.registering import Wish, change, register, remove, rotate

__all__ = [
    "BY_ITS_PROJECT",
    "Wish",
    "change",
    "count",
    "disable",
    "find",
    "of",
    "recover",
    "register",
    "remove",
    "rotate",
    "take",
    "there",
    "wanting",
    "wants",
]
