"""Which addresses may be reached: pure rules, no sockets and no DNS.

A URL is judged twice. `check_url` judges its form, and the address when one is written in it,
while a request is accepted. `check_reach` judges the addresses that a name really has, at the
moment of connecting.

Default deny: the lists are the IANA special-purpose registries
(https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry).
The standard library's `is_private` lets a good part of them through, so it is not the rule here.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from urllib.parse import quote

from models.errors import EgressRefused
from models.platform.hosts import read_host, read_ipv4

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ANY_PORT = range(1, 1 << 16)  # for the provider, which fetches references where it likes

_URL_MAX = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}

_SPLIT = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?")
_PORT = re.compile(r"[0-9]{1,5}")


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, text.split()))


_IPV6_OPEN = IPv6Network("2000::/3")
_IPV6_CLOSED = _networks("2001::/23 2001:db8::/32 2002::/16 3fff::/20 2620:4f:8000::/48")
_IPV4_CLOSED = _networks(
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24"
    " 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24"
    " 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
)
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


@dataclass(frozen=True)
class Target:
    """A URL as it will be requested: every reader of `url` sees the same host, port and path.

    `host` is ASCII (IDNA) in lower case; an address in its canonical spelling, without brackets.
    """

    scheme: str
    host: str
    port: int
    path_and_query: str
    url: str

    @property
    def address(self) -> Address | None:
        """The address that stands in the URL itself, or None when the host is a name."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return read_ipv4(self.host)


def allowed(address: Address, exceptions: Sequence[Network]) -> bool:
    """Return whether this address may be reached: it is public, or inside one of the exceptions."""
    if exempt(address, exceptions):
        return True
    bare = _unwrap(address)
    if isinstance(bare, IPv4Address):
        return not any(bare in network for network in _IPV4_CLOSED)
    if bare.scope_id is not None or bare not in _IPV6_OPEN:
        return False
    return not any(bare in network for network in _IPV6_CLOSED)


def exempt(address: Address, exceptions: Sequence[Network]) -> bool:
    """Return whether the operator opened this address: at any port, and for plain http too."""
    return any(address in network or _unwrap(address) in network for network in exceptions)


def opened(target: Target, exceptions: Sequence[Network]) -> bool:
    """Return whether a URL names what the operator opened: an address, or this machine by its name."""
    named = _LOOPBACK if _is_local(target) else [target.address]
    return any(each is not None and exempt(each, exceptions) for each in named)


def check_url(
    url: str,
    *,
    exceptions: Sequence[Network],
    ports: Collection[int],
    longest: int = _URL_MAX,
) -> Target:
    """Read a URL that a user or the provider chose, or raise `EgressRefused` saying what to change.

    A name passes here when it may turn out to be allowed; `check_reach` has the last word. `longest` is
    in characters.
    """
    _check_text(url, longest)
    parts = _SPLIT.fullmatch(url)
    if parts is None or parts[1].lower() not in _DEFAULT_PORTS:
        raise EgressRefused(f"The URL's scheme must be https: it starts with {url[:12]!r}.")
    scheme = parts[1].lower()
    host_text, port = _split_authority(parts[2], _DEFAULT_PORTS[scheme])
    host = read_host(host_text)
    path_and_query = _encode(parts[3] or "/") + _encode(parts[4] or "")
    netloc = f"[{host}]" if ":" in host else host
    if port != _DEFAULT_PORTS[scheme]:
        netloc = f"{netloc}:{port}"
    target = Target(scheme, host, port, path_and_query, f"{scheme}://{netloc}{path_and_query}")
    if target.address is not None:
        check_reach(target, (target.address,), exceptions=exceptions, ports=ports)
    else:
        _check_name(target, exceptions, ports)
    return target


def check_reach(
    target: Target,
    addresses: Sequence[Address],
    *,
    exceptions: Sequence[Network],
    ports: Collection[int],
) -> None:
    """Refuse with `EgressRefused` unless every one of the target's addresses may be reached.

    The message names no address that the caller did not write: what an internal name resolves to is
    nobody's business outside.
    """
    closed = [address for address in addresses if not exempt(address, exceptions)]
    if not all(allowed(address, ()) for address in closed):
        raise EgressRefused(
            f"The URL's host {target.host!r} is not a public address; use one that is,"
            " or have the operator open its network with DARKROOM_EGRESS_ALLOW."
        )
    if closed:
        _check_regular(target, ports)


def _check_name(target: Target, exceptions: Sequence[Network], ports: Collection[int]) -> None:
    if not exceptions:  # else only the address can tell whether the name is exempt
        _check_regular(target, ports)
    if _is_local(target) and not opened(target, exceptions):
        raise EgressRefused(
            f"The URL's host {target.host!r} is this machine itself; use a public host."
        )


def _is_local(target: Target) -> bool:
    return target.host == "localhost" or target.host.endswith(".localhost")


def _check_regular(target: Target, ports: Collection[int]) -> None:
    if target.scheme != "https":
        raise EgressRefused(f"The URL's scheme is {target.scheme!r}; use https.")
    if target.port not in ports:
        known = ", ".join(map(str, sorted(ports)))
        raise EgressRefused(f"The URL's port {target.port} is not open; use one of: {known}.")


def _check_text(url: str, longest: int) -> None:
    if len(url) > longest:
        raise EgressRefused(f"The URL has {len(url)} characters; {longest} are the most.")
    for letter in url:
        # Parsers disagree about these: some strip them, some read the backslash as a slash.
        unseen = letter.isspace() or unicodedata.category(letter) in {"Cc", "Cf", "Cs"}
        if unseen or letter == "\\":
            raise EgressRefused(f"The URL contains {letter!a}; percent-encode it.")


def _split_authority(authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:  # the message must not repeat a password
        raise EgressRefused("The URL carries a user name before '@'; leave it out.")
    host, colon, port_text = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        return authority, default_port
    if not port_text:
        return host, default_port
    if not _PORT.fullmatch(port_text) or not 0 < int(port_text) < 1 << 16:
        raise EgressRefused(f"The URL's port {port_text!r} is not a number from 1 to 65535.")
    return host, int(port_text)


def _encode(text: str) -> str:
    return quote(text, safe="%/?:@!$&'()*+,;=-._~")


def _unwrap(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
