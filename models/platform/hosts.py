"""How the host of a URL is read: a name, or an address in any of its spellings."""

import re
from ipaddress import IPv4Address, IPv6Address

import idna

from models.errors import EgressRefused

_HOST_MAX = 253  # RFC 1035, 2.3.4
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_OCTAL = re.compile(r"0[0-7]*")


def read_host(text: str) -> str:
    """Return a host as it is looked up: ASCII in lower case, an address in its canonical spelling.

    Raises `EgressRefused` for what is neither a name nor an address.
    """
    if not text:
        raise EgressRefused("The URL has no host; write https://host/path.")
    if text.startswith("["):
        return _read_ipv6(text)
    try:
        # UTS 46 maps what people type (full-width digits, other full stops) to what is looked up.
        host = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError:
        raise _not_a_host(text) from None
    if host.endswith("."):
        raise EgressRefused(f"The URL's host {text!r} ends with a dot; leave the dot out.")
    if len(host) > _HOST_MAX or not all(map(_LABEL.fullmatch, host.split("."))):
        raise _not_a_host(text)
    address = read_ipv4(host)
    return host if address is None else str(address)


def _read_ipv6(text: str) -> str:
    if "%" in text:
        raise EgressRefused(f"The URL's host {text!r} has a scope id; leave out '%' and the rest.")
    if not text.endswith("]"):
        raise _not_a_host(text)
    try:
        return str(IPv6Address(text[1:-1]))
    except ValueError:
        raise _not_a_host(text) from None


def read_ipv4(host: str) -> IPv4Address | None:
    """Read what `inet_aton` would (127.1, 0x7f.1, 2130706433), or None for a name.

    A host whose last label is a number is an address or nothing (https://url.spec.whatwg.org,
    "ends in a number"): no top-level domain is one, and a resolver may read it in its own way.
    """
    labels = host.split(".")
    if not _NUMBER.fullmatch(labels[-1]):
        return None
    if len(labels) > 4 or not all(map(_NUMBER.fullmatch, labels)):  # noqa: PLR2004 - four bytes
        raise _not_a_host(host)
    *heads, tail = map(_read_number, labels)
    tail_bits = 32 - 8 * len(heads)
    if any(head > 255 for head in heads) or tail >= 1 << tail_bits:  # noqa: PLR2004 - one byte
        raise _not_a_host(host)
    return IPv4Address(int.from_bytes(bytes(heads)) << tail_bits | tail)


def _read_number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    if not label.startswith("0"):
        return int(label)
    if not _OCTAL.fullmatch(label):
        raise _not_a_host(label)
    return int(label, 8)


def _not_a_host(text: str) -> EgressRefused:
    return EgressRefused(f"The URL's host {text[:_HOST_MAX]!r} is neither a name nor an address.")
