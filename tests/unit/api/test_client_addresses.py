"""Whose address the audit log tells, behind balancers that add it in several ways."""

from ipaddress import ip_network

import pytest
from fastapi import Request

from api.edge.callers import addresses

OURS: tuple[addresses.Network, ...] = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def asked(peer: str, *lines: str) -> Request:
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    return Request({"type": "http", "client": (peer, 1), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["6.6.6.6"], "203.0.113.9"),  # nobody's balancer
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),  # replaced
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),  # added
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9,10.0.0.2"], "203.0.113.9"),  # by two of ours
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),  # added as a line of its own
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9, 10.0.0.3", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, unknown"], "10.0.0.1"),
        ("fd00::1", ["6.6.6.6, 2001:db8::9"], "2001:db8::9"),
    ],
)
def test_the_last_address_that_a_balancer_of_ours_added_is_the_clients(
    peer: str, lines: list[str], client: str
) -> None:
    assert addresses.of_client(asked(peer, *lines), OURS) == client
    assert addresses.of_client(asked(peer, *lines), ()) == peer
