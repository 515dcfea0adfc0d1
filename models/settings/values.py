"""Types of settings: each reads the text of an environment variable, or says what is wrong with it.

Pydantic puts the variable's name before what is said. What may be a secret is never repeated.
"""

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from models.settings import postgres_url
from models.settings.redis_url import RedisUrl

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SECRET = 32  # letters
_LAST_PORT = 65_535
_BLANK = re.compile(r"\s")
_TOKEN = re.compile(r"[!-~]*")  # RFC 9110, 5.5, less the blank
_LONGEST = 10 * 365 * 86_400  # seconds: ten years, beyond any lease, timeout or retention


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number of seconds") from None
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"{value} is not a duration; give 0 to {_LONGEST:,} seconds")
    return timedelta(seconds=seconds)


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("0 seconds would let nothing happen, or end; give more")
    return value


def _schedule(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(_seconds(each) for each in value.strip("[] ").replace(",", " ").split())


def _words(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _unset(value: object) -> object:
    """Read what is set and empty as what is not set, as OpenTelemetry does."""
    return None if value == "" else value


def _networks(value: object) -> object:
    return tuple(map(_network, words)) if isinstance(words := _words(value), tuple) else words


def _network(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        found = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is no network; give one such as 10.0.0.0/8") from None
    if ip_interface(value).ip != found.network_address:
        raise ValueError(
            f"{value!r} is an address in a network; give {found}, or {ip_interface(value).ip} alone"
        )
    return found


def _ports(value: object) -> object:
    words = _words(value)
    if not isinstance(value, str) or not isinstance(words, tuple):
        return value
    for each in words:
        if not (each.isascii() and each.isdecimal() and 0 < int(each) <= _LAST_PORT):
            raise ValueError(f"{each!r} is no port; give numbers from 1 to {_LAST_PORT}")
    return words


def _level(value: str) -> str:
    if value.upper() not in _LEVELS:
        raise ValueError(f"{value!r} is no level; give one of {', '.join(_LEVELS)}")
    return value.upper()


def _web(value: str) -> str:
    why = "it has a blank" if _BLANK.search(value) else _no_web(value)
    if why is not None:
        raise ValueError(f"no http:// or https:// URL of a host, with or without a path: {why}")
    return value.rstrip("/")


def _no_web(value: str) -> str | None:
    """Return why something is no URL of a host, repeating nothing of it that may be secret."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return "its port is no number up to 65535"
    if parts.scheme not in {"http", "https"}:
        return f"its scheme is {parts.scheme}" if parts.netloc else "it begins with neither"
    if "@" in parts.netloc:
        return "it has a login"
    if not parts.hostname or port == 0:
        return "its port is 0" if parts.hostname else "it names no host"
    return "it has a query or a fragment" if parts.query or parts.fragment else None


def _key(value: SecretStr) -> SecretStr:
    _token(value.get_secret_value())
    return value


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("holds a blank, a line break or a letter that no HTTP header can carry")
    return value


def _secret(value: SecretStr) -> SecretStr:
    if len(value) < _SECRET:
        raise ValueError(
            f"has {len(value)} characters and needs {_SECRET}; make one with `openssl rand -hex 32`"
        )
    return value


def _former(value: SecretStr) -> SecretStr:
    if 0 < len(value) < _SECRET:
        raise ValueError(f"no former DARKROOM_SECRET: it would have at least {_SECRET} letters")
    return value


def _postgres(value: SecretStr) -> SecretStr:
    postgres_url.demand(value.get_secret_value())
    return value


def _redis(value: SecretStr) -> SecretStr:
    RedisUrl.parse(value.get_secret_value()).demand_client()
    return value


Sampler = Literal[
    "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
    "parentbased_traceidratio",
]  # fmt: skip
RedisAddress = Annotated[SecretStr, AfterValidator(_redis)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
WebUrl = Annotated[str, AfterValidator(_web)]
Receiver = Annotated[WebUrl | None, BeforeValidator(_unset)]
Level = Annotated[str, AfterValidator(_level)]
Duration = Annotated[timedelta, BeforeValidator(_seconds)]
Span = Annotated[Duration, AfterValidator(_positive)]
Schedule = Annotated[tuple[timedelta, ...], NoDecode, BeforeValidator(_schedule)]
Port = Annotated[int, Field(ge=0, le=_LAST_PORT)]  # 0 takes a free one
Key = Annotated[SecretStr, AfterValidator(_key)]
Keys = Annotated[
    tuple[Annotated[str, AfterValidator(_token)], ...], NoDecode, BeforeValidator(_words)
]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
FormerSecret = Annotated[SecretStr, AfterValidator(_former)]  # empty: there is none
Network = IPv4Network | IPv6Network
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
Ports = Annotated[
    frozenset[Annotated[int, Field(ge=1, le=_LAST_PORT)]], NoDecode, BeforeValidator(_ports)
]
