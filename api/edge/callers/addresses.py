"""From which address a request came, also behind balancers."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from fastapi import Request

Network = IPv4Network | IPv6Network

_PEERS = 1024  # that a process remembers: balancers are few, and strangers come again


def of_client(request: Request, balancers: tuple[Network, ...]) -> str | None:
    """Return the client's address: the peer's or, behind our balancers, the one that they were asked from.

    Of `X-Forwarded-For` only what our own balancers have added is believed: it is read from its end, while
    they stand there. Some add a line of their own behind the client's, so all lines are one list
    (RFC 9110, 5.3).
    """
    peer = request.client.host if request.client else None
    if not balancers:
        return peer
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    hops = [each.strip() for each in forwarded.split(",")]
    while peer is not None and hops and _is_ours(peer, balancers):
        before = hops.pop()
        if _parsed(before) is None:
            break
        peer = before
    return peer


@lru_cache(_PEERS)
def _is_ours(written: str, balancers: tuple[Network, ...]) -> bool:
    address = _parsed(written)
    return address is not None and any(address in each for each in balancers)


def _parsed(written: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(written)
    except ValueError:
        return None
