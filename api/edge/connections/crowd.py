"""How many connections an api process has: in all, and from one address.

A connection on which no request is under way gives way to a new one, the longest idle first: whoever only
holds connections keeps nobody out. When all are busy a new one is refused, before descriptors run out.
"""

from collections import Counter as Count
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from prometheus_client import Counter, Gauge

from models.settings import Settings
from models.settings.values import Network

_SPARE = 256  # descriptors for everything else: Postgres, Redis, the store, files
_OPEN = Gauge("darkroom_http_connections", "Connections of clients that are open")
_MOST = Gauge("darkroom_http_connections_max", "Connections that this process takes at most")
CLOSED = Counter(
    "darkroom_http_connections_closed", "Connections that ended by a bound", ["reason"]
)


class Member(Protocol):
    """One connection."""

    def leave(self) -> None:
        """Close, for nothing is under way here."""


@dataclass(eq=False)
class Crowd:
    """The connections of one process; `draining` is whether each answer asks its client to leave."""

    most: int
    of_one: int
    balancers: Sequence[Network]
    draining: bool = False
    _places: Count[str] = field(default_factory=Count)
    _idle: dict[Member, None] = field(default_factory=dict)
    _open: int = 0

    @classmethod
    def of(cls, settings: Settings, descriptors: int) -> "Crowd":
        """Bound a crowd by the settings and by what this process may have open."""
        most = min(settings.connections_max, max(descriptors - _SPARE, descriptors // 2))
        _MOST.set(most)
        return cls(most, settings.connections_per_address, settings.balancers)

    def join(self, member: Member, address: str) -> bool:
        """Count a connection in; return False where it must be refused."""
        if self._open >= self.most and not self._make_room():
            CLOSED.labels("full").inc()
            return False
        place = self._place(address)
        if place and self._places[place] >= self.of_one:
            CLOSED.labels("address").inc()
            return False
        self._places[place] += 1
        self._open += 1
        self._idle[member] = None
        _OPEN.inc()
        return True

    def quit(self, member: Member, address: str) -> None:
        """Count a connection out."""
        place = self._place(address)
        self._places[place] -= 1
        if not self._places[place]:
            del self._places[place]
        self._idle.pop(member, None)
        self._open -= 1
        _OPEN.dec()

    def rest(self, member: Member) -> None:
        """Mark a connection as idle."""
        self._idle[member] = None

    def work(self, member: Member) -> None:
        """Mark a connection as busy with a request."""
        self._idle.pop(member, None)

    def _make_room(self) -> bool:
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        del self._idle[longest]
        CLOSED.labels("idle").inc()
        longest.leave()
        return True

    def _place(self, address: str) -> str:
        """Return where a connection is from; "" for a balancer, from which everybody may come."""
        found = _parsed(address)
        if found is None or any(found in network for network in self.balancers):
            return ""
        # A client that has one IPv6 address has all of its /64.
        return str(IPv6Network((int(found) >> 64 << 64, 64))) if found.version == 6 else address  # noqa: PLR2004


@lru_cache(4096)
def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(address)
    except ValueError:  # a socket that is no TCP
        return None
    return getattr(found, "ipv4_mapped", None) or found
