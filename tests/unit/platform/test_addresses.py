from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import EgressRefused
from models.platform.addresses import Address, Network, Target, allowed, check_reach, check_url

PORTS = frozenset({443})
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def words(text: str) -> list[str]:
    return text.split()


def widen(text: str) -> str:
    """Write text with the full-width forms of its letters, digits and stops."""
    return text.translate({letter: letter + 0xFEE0 for letter in range(0x21, 0x7F)})


FORBIDDEN_V4 = words("""
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.1.2.3
    127.255.255.254 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170
    192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1
    198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1
    255.255.255.255
""")
FORBIDDEN_V6 = words("""
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 100:0:0:1::1 2001::1 2001:0:4136:e378::1
    2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:db8::1 2002::1
    2002:7f00:1:: 2620:4f:8000::1 3fff::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254
    fe80::1 fec0::1 ff02::1 ff0e::1
""")
ALLOWED = words("""
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    169.253.255.255 172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255 198.17.255.255 198.20.0.0
    223.255.255.255 2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450::1
    ::ffff:8.8.8.8
""")

# What the design closes, network by network, and what is not inside 2000::/3 at all.
CLOSED_V4 = words("""
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
    192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24
    198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
""")
CLOSED_V6 = words("""
    ::/3 2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 4000::/2 8000::/1
""")
EDGES_V4 = [edge for text in CLOSED_V4 for edge in (IPv4Network(text)[0], IPv4Network(text)[-1])]
EDGES_V6 = [edge for text in CLOSED_V6 for edge in (IPv6Network(text)[0], IPv6Network(text)[-1])]

SPELLINGS: dict[str, Callable[[IPv4Address], str]] = {
    "dotted": str,
    "octal": lambda a: ".".join(f"0{byte:o}" for byte in a.packed),
    "hex": lambda a: ".".join(f"0x{byte:x}" for byte in a.packed),
    "integer": lambda a: str(int(a)),
    "hex integer": lambda a: f"0X{int(a):08X}",
    "short": lambda a: f"{a.packed[0]}.{int(a) & 0xFFFFFF}",
    "mapped": lambda a: f"[::ffff:{a}]",
    "full width": lambda a: widen(str(a)),
    "ideographic": lambda a: str(a).replace(".", "。"),
}
# A gateway would unpack these; for us they are no public addresses, whatever is in them.
GATEWAYS: dict[str, Callable[[IPv4Address], str]] = {
    "nat64": lambda a: f"[64:ff9b::{a}]",
    "local nat64": lambda a: f"[64:ff9b:1::{a}]",
    "6to4": lambda a: f"[2002:{int(a) >> 16:x}:{int(a) & 0xFFFF:x}::1]",
    "compatible": lambda a: f"[::{a}]",
    "translated": lambda a: f"[::ffff:0:{a}]",
}


def read(url: str, exceptions: tuple[Network, ...] = ()) -> Target:
    return check_url(url, exceptions=exceptions, ports=PORTS)


@pytest.mark.parametrize("text", FORBIDDEN_V4 + FORBIDDEN_V6)
def test_what_is_not_public_is_denied(text: str) -> None:
    assert not allowed(ip_address(text), ())


@pytest.mark.parametrize("text", ALLOWED)
def test_what_is_public_is_allowed(text: str) -> None:
    assert allowed(ip_address(text), ())


def test_each_closed_network_is_closed_from_its_first_address_to_its_last() -> None:
    edges: list[Address] = [*EDGES_V4, *EDGES_V6]
    assert [str(edge) for edge in edges if allowed(edge, ())] == []


def test_just_outside_of_each_closed_network_is_open_unless_another_begins() -> None:
    beside_v4 = [edge + step for edge, step in zip(EDGES_V4, (-1, 1) * 18, strict=True)
                 if 0 <= int(edge) + step < 1 << 32]  # fmt: skip
    beside_v6 = [edge + step for edge, step in zip(EDGES_V6, (-1, 1) * 8, strict=True)
                 if 0 <= int(edge) + step < 1 << 128]  # fmt: skip
    for address in beside_v4:
        closed = any(address in IPv4Network(text) for text in CLOSED_V4)
        assert allowed(address, ()) != closed, address
    for beside in beside_v6:
        closed = any(beside in IPv6Network(text) for text in CLOSED_V6)
        assert allowed(beside, ()) != closed, beside


@pytest.mark.parametrize("text", FORBIDDEN_V4 + FORBIDDEN_V6)
def test_an_exception_opens_exactly_its_own_address(text: str) -> None:
    address = ip_address(text)
    assert allowed(address, (ip_network(address),))
    assert not allowed(address, (ip_network("1.2.3.4"), ip_network("2600::1")))


def test_an_exception_covers_the_mapped_form_of_its_addresses() -> None:
    assert allowed(ip_address("::ffff:127.0.0.1"), LOOPBACK)


def test_an_address_with_a_scope_is_denied() -> None:
    assert not allowed(ip_address("2001:4860::1%eth0"), ())


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_hides_a_forbidden_address(spelling: str) -> None:
    for address in (*map(IPv4Address, FORBIDDEN_V4), *EDGES_V4):
        with pytest.raises(EgressRefused):
            read(f"https://{SPELLINGS[spelling](address)}/hook")


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_no_gateway_is_a_way_to_anywhere(gateway: str) -> None:
    for text in (*FORBIDDEN_V4, "8.8.8.8", "1.1.1.1"):
        with pytest.raises(EgressRefused):
            read(f"https://{GATEWAYS[gateway](IPv4Address(text))}/hook")


def test_no_spelling_hides_a_forbidden_ipv6_address() -> None:
    for address in (*map(IPv6Address, FORBIDDEN_V6), *EDGES_V6):
        for written in (str(address), address.exploded, str(address).upper()):
            with pytest.raises(EgressRefused):
                read(f"https://[{written}]/hook")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_public_address_is_read_as_that_address(spelling: str) -> None:
    target = read(f"https://{SPELLINGS[spelling](IPv4Address('8.8.4.4'))}/hook")
    host = "[::ffff:808:404]" if spelling == "mapped" else "8.8.4.4"
    assert target.url == f"https://{host}/hook"


@settings(max_examples=300, deadline=None)
@given(number=st.integers(0, 2**32 - 1), spelling=st.sampled_from(sorted(SPELLINGS)))
def test_any_spelling_is_judged_as_the_address_it_means(number: int, spelling: str) -> None:
    address = IPv4Address(number)
    url = f"https://{SPELLINGS[spelling](address)}/"
    if allowed(address, ()):
        assert read(url).address in {address, IPv6Address(f"::ffff:{address}")}
    else:
        with pytest.raises(EgressRefused):
            read(url)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/", f"https://a.example/{text}"):
        try:
            target = read(url)
        except EgressRefused:
            continue
        assert target.url.isascii()
        assert target.url.isprintable()
        assert " " not in target.url
        assert read(target.url) == target


def test_a_url_is_read_into_its_parts() -> None:
    assert read("HTTPS://Hooks.Example.COM:443/a/b?c=d#e") == Target(
        "https", "hooks.example.com", 443, "/a/b?c=d", "https://hooks.example.com/a/b?c=d"
    )


def test_an_empty_port_is_the_schemes_own() -> None:
    assert read("https://example.com:/").url == "https://example.com/"


def test_a_url_without_a_path_asks_for_the_root() -> None:
    assert read("https://example.com?q=1").url == "https://example.com/?q=1"


def test_names_and_paths_in_other_scripts_are_written_in_ascii() -> None:
    target = read("https://exämple.com/grün?ü")
    assert target.url == "https://xn--exmple-cua.com/gr%C3%BCn?%C3%BC"


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://example.com/", "http"),
        ("ftp://example.com/", "ftp"),
        ("file:///etc/passwd", "file"),
        ("gopher://example.com/", "gopher"),
        ("javascript:alert(1)", "javascript"),
        ("data:text/plain,hello", "data"),
        ("ws://example.com/", "ws"),
        ("//example.com/", "scheme"),
        ("example.com", "scheme"),
        ("", "scheme"),
        ("https:example.com", "scheme"),
        ("https://example.com:8443/", "8443"),
        ("https://example.com:22/", "22"),
        ("https://example.com:0/", "'0'"),
        ("https://example.com:65536/", "65536"),
        ("https://example.com:+443/", "443"),
        (f"https://example.com:{widen('443')}/", widen("443")),
        ("https://8.8.8.8:80/", "80"),
        ("https://user@example.com/", "user name"),
        ("https://user:pass@example.com/", "user name"),
        ("https://example.com@127.0.0.1/", "user name"),
        ("https://@example.com/", "user name"),
        ("https://[2606:4700::1%25eth0]/", "scope"),
        ("https://[2606:4700::1%eth0]/", "scope"),
        ("https:///path", "no host"),
        ("https://:443/", "no host"),
        ("https://?q", "no host"),
        ("https://exa mple.com/", "' '"),
        (" https://example.com/", "' '"),
        ("https://example.com/\n", r"\n"),
        ("https://example.com\r\nhost: evil.example/", r"\r"),
        ("https://exam\tple.com/", r"\t"),
        ("https://example.com/\x00", r"\x00"),
        ("https://example.com/\u200b", r"\u200b"),
        ("https://example.com/\u00a0", r"\xa0"),
        ("https://example.com/\u2028", r"\u2028"),
        ("https://example.com/\ud800", r"\ud800"),
        ("https://example.com\\@127.0.0.1/", r"\\"),
        ("https://example.com/" + "a" * 2048, "2048"),
        ("https://example.com./", "dot"),
        ("https://127.0.0.1./", "dot"),
        ("https://localhost。/", "dot"),
        ("https://xn--/", "neither"),
        ("https://ab--c\u0308.example/", "neither"),
        ("https://localhost/", "localhost"),
        ("https://LOCALHOST/", "localhost"),
        (f"https://{widen('localhost')}/", "localhost"),
        ("https://a.localhost/", "localhost"),
        ("https://%31%32%37.0.0.1/", "neither"),
        ("https://١٢٧.0.0.1/", "neither"),
        ("https://①②⑦.⓪.⓪.①/", "public"),
        ("https://127。0。0。1/", "public"),
        ("https://127.1/", "public"),
        ("https://0/", "public"),
        ("https://0x/", "public"),
        ("https://0x7f.1/", "public"),
        ("https://017700000001/", "public"),
        ("https://4294967296/", "neither"),
        ("https://127.0.0.256/", "neither"),
        ("https://256.0.0.1/", "neither"),
        ("https://127.0.0.08/", "neither"),
        ("https://1.2.3.4.5/", "neither"),
        ("https://example.1/", "neither"),
        ("https://a..b/", "neither"),
        ("https://-a.example/", "neither"),
        ("https://" + "a" * 64 + ".example/", "neither"),
        ("https://" + "a." * 126 + "aa/", "neither"),
        ("https://[::1/", "neither"),
        ("https://[::ffff:8.8.8.8:443/", "neither"),
        ("https://[v1.x]/", "neither"),
        ("https://::1/", "neither"),
        ("https://[8.8.8.8]/", "neither"),
    ],
)
def test_a_refusal_names_the_part_that_offends(url: str, part: str) -> None:
    with pytest.raises(EgressRefused) as refused:
        read(url)
    assert part in refused.value.detail


def test_a_refusal_never_repeats_a_password() -> None:
    with pytest.raises(EgressRefused) as refused:
        read("https://user:hunter2@example.com/")
    assert "hunter2" not in refused.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/hook",
        "http://127.1:8000/hook",
        "https://127.0.0.1:9/hook",
        "http://[::1]:8000/hook",
        "http://[::ffff:127.0.0.1]/hook",
        "http://localhost:8000/hook",
        "https://localhost/hook",
        "http://receiver.internal:8000/hook",
    ],
)
def test_an_exempt_address_may_have_any_port_and_scheme(url: str) -> None:
    assert read(url, LOOPBACK).port in {80, 443, 8000, 9}
    with pytest.raises(EgressRefused):
        read(url)


def test_an_exception_for_another_network_does_not_open_localhost() -> None:
    with pytest.raises(EgressRefused):
        read("https://localhost/", (ip_network("10.0.0.0/8"),))


@pytest.mark.parametrize("url", ["http://8.8.8.8/", "https://8.8.8.8:8443/", "https://10.0.0.1/"])
def test_exceptions_change_nothing_for_other_addresses(url: str) -> None:
    with pytest.raises(EgressRefused):
        read(url, LOOPBACK)


@pytest.mark.parametrize(
    ("url", "answers", "reached"),
    [
        ("https://name.example/", ["8.8.8.8", "2606:4700::1"], True),
        ("https://name.example/", ["127.0.0.1"], True),
        ("https://name.example/", ["127.0.0.1", "8.8.8.8"], True),
        ("https://name.example/", ["8.8.8.8", "10.0.0.1"], False),
        ("https://name.example/", ["10.0.0.1", "8.8.8.8"], False),
        ("http://name.example/", ["127.0.0.1", "::1"], True),
        ("http://name.example/", ["8.8.8.8"], False),
        ("http://name.example/", ["127.0.0.1", "8.8.8.8"], False),
        ("https://name.example:8443/", ["127.0.0.1"], True),
        ("https://name.example:8443/", ["8.8.8.8"], False),
    ],
)
def test_every_answer_for_a_name_must_be_reachable(
    url: str, answers: list[str], *, reached: bool
) -> None:
    target = read(url, LOOPBACK)
    addresses = [ip_address(answer) for answer in answers]
    if reached:
        check_reach(target, addresses, exceptions=LOOPBACK, ports=PORTS)
    else:
        with pytest.raises(EgressRefused):
            check_reach(target, addresses, exceptions=LOOPBACK, ports=PORTS)


def test_what_an_internal_name_resolves_to_is_not_told() -> None:
    target = read("https://db.internal/")
    with pytest.raises(EgressRefused) as refused:
        check_reach(target, [ip_address("10.1.2.3")], exceptions=(), ports=PORTS)
    assert "10.1.2.3" not in refused.value.detail
    assert "DARKROOM_EGRESS_ALLOW" in refused.value.detail
