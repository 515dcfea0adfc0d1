"""REDIS_URL: one server, or the sentinels that know which server is the primary.

    redis://:password@host:6379/0
    rediss://:password@host:6379/0?ssl_ca_certs=/run/ca.pem
    redis+sentinel://:password@host-1:26379,host-2:26379/service/0?sentinel_password=…

`rediss` is TLS, and the server's certificate and name are checked unless `ssl_cert_reqs=none` says not to.
The query takes redis-py's `ssl_…` options. `sentinel://` is another name for `redis+sentinel://`, and
Celery's form of it (`sentinel://a:26379/0;sentinel://b:26379/0`) is read as well. A service whose name is a
number, which elsewhere is the database, is named in the query: `…/0?service_name=1`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from redis.asyncio import Redis, SSLConnection
from redis.connection import parse_url
from redis.exceptions import RedisError

_SENTINEL = 26_379
_SCHEMES = {  # and whether they mean TLS, and sentinels
    "redis": (False, False),
    "rediss": (True, False),
    "sentinel": (False, True),
    "redis+sentinel": (False, True),
    "rediss+sentinel": (True, True),
}
_MORE = re.compile(r";(?:rediss?\+)?sentinel://")
_SERVICE = ("service_name", "master_name")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where Redis is.

    `servers` are pairs of host and port: one, or the sentinels of `service`. `options` are redis-py's for a
    connection (`username`, `password`, `db`); `ssl` those of TLS, and None without it.
    """

    servers: tuple[tuple[str, int], ...]
    service: str | None
    options: Mapping[str, object] = field(repr=False)
    ssl: Mapping[str, object] | None
    sentinel_options: Mapping[str, object] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> "RedisUrl":
        """Read a URL; raises ValueError, whose text repeats nothing of it."""
        try:
            return _parse(url)
        except ValueError as wrong:
            why = f" ({wrong})" if isinstance(wrong, _MalformedError) else ""
            raise ValueError(
                f"not a URL of Redis{why}; give redis://:password@host:6379/0, rediss://… for TLS, or "
                "redis+sentinel://host:26379,host:26379/service/0"
            ) from None

    def demand_client(self) -> None:
        """Raise ValueError unless redis-py takes the options, and can read the files that they name."""
        tls: dict[str, Any] = {} if self.ssl is None else {"ssl": True, **self.ssl}
        options: dict[str, Any] = {**self.options, **tls}
        try:
            made = Redis(**options).connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
            if isinstance(made, SSLConnection):
                made.ssl_context.get()
        except OSError as unreadable:
            raise ValueError(
                f"what its ssl_… options name cannot be read ({unreadable.strerror})"
            ) from None
        except (TypeError, ValueError, RedisError):
            raise ValueError("redis-py does not take one of its options, or its value") from None

    def celery_url(self) -> str:
        """Return the broker's URL in Celery's form; TLS and the service are told by options."""
        options = self.options
        user, password = (quote(str(options.get(each, "")), safe="") for each in _CREDENTIALS)
        login = f"{user}:{password}@" if user or password else ""
        scheme = "sentinel" if self.service else ("rediss" if self.ssl is not None else "redis")
        database = options.get("db", 0)
        return ";".join(
            f"{scheme}://{login}{f'[{host}]' if ':' in host else host}:{port}/{database}"
            for host, port in self.servers
        )


_CREDENTIALS = ("username", "password")


class _MalformedError(ValueError):
    """A URL is not what it must be; the text says why, and repeats nothing of it."""


def _parse(url: str) -> RedisUrl:
    if "#" in url:
        raise _MalformedError("a # is written %23")
    scheme, _, rest = url.partition("://")
    tls, sentinels = _SCHEMES.get(scheme, (False, None))
    if sentinels is None:
        raise _MalformedError("its scheme is none of Redis")
    place, _, query = _joined(rest).partition("?")
    asked = dict(parse_qsl(query, strict_parsing=bool(query)))
    netloc, _, path = place.partition("/")
    login, at, hosts = netloc.rpartition("@")
    if "," in login and "@" in login:
        raise _MalformedError("more than one login")
    written = hosts.split(",")
    if len(written) > 1 and not (sentinels and all(written)):
        raise _MalformedError(
            "several servers, and no sentinels" if all(written) else "a server is empty"
        )
    servers = tuple(_server(each, _SENTINEL if sentinels else 6379) for each in written)
    service: str | None = None
    of_sentinels: dict[str, object] = {}
    if sentinels:
        service, path = _service(path, asked)
        of_sentinels = {
            key: found for key in _CREDENTIALS if (found := asked.pop(f"sentinel_{key}", ""))
        }
    if path and not path.isdecimal():
        raise _MalformedError("its database is no number")
    options: dict[str, object] = parse_url(  # type: ignore[no-untyped-call]  # redis-py's
        f"redis://{login}{at}host/{path or 0}?{urlencode(asked)}"
    )
    ssl = {key: value for key, value in options.items() if key.startswith("ssl_")}
    if ssl and not tls:
        raise _MalformedError("options of TLS, which is rediss://")
    kept = {key: value for key, value in options.items() if key not in {*ssl, "host"}}
    return RedisUrl(servers, service, kept, ssl if tls else None, of_sentinels)


def _joined(rest: str) -> str:
    """Return what follows the scheme, with the servers of Celery's form as ours lists them."""
    first, *more = _MORE.split(rest)
    if not more:
        return rest
    last, question, query = more.pop().partition("?")
    places = [each.partition("/") for each in (first, *more, last)]
    logins = {place.rpartition("@")[0] for place, _, _ in places}
    paths = {path for _, _, path in places if path}
    if len(paths) > 1 or len(logins) > 1:
        raise _MalformedError("its servers have different logins or paths")
    hosts = ",".join(place.rpartition("@")[2] for place, _, _ in places)
    login, path = "".join(logins), "".join(paths)
    return f"{login}{'@' if login else ''}{hosts}/{path}{question}{query}"


def _service(path: str, asked: dict[str, str]) -> tuple[str, str]:
    """Return the service and the database of `service/0`, or of the query and `0`."""
    told = [found for key in _SERVICE if (found := asked.pop(key, ""))]
    named, _, database = path.partition("/")
    if told and (not named or named.isdecimal()) and not database:
        return told[0], named
    if told and told[0] != named:
        raise _MalformedError("its path and its query name different services")
    if not named or named.isdecimal():
        raise _MalformedError("it names no service")
    return named, database


def _server(written: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{written}")
    if parts.port == 0:
        raise _MalformedError("port 0")
    return parts.hostname or "localhost", parts.port or default
