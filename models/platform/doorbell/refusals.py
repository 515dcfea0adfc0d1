"""Why Redis refuses us, where waiting does not help as it does when Redis is away."""

import asyncio
import ssl
from collections.abc import Awaitable
from contextlib import suppress

from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from models.settings.redis_url import RedisUrl

_SOON = 1.0  # seconds for a stranger to answer: it answered the connection already
_SHOWN = 60  # bytes of what it says
# PostgreSQL's SSLRequest, which it answers with one letter (postgresql.org, "Message Formats").
_SSL_REQUEST, _SSL_ANSWERS = bytes.fromhex("0000000804d2162f"), (b"S", b"N")
_OURS = (b"+PONG", b"-")  # Redis' answers to PING: an error as well, when it wants a password


async def refusal(place: RedisUrl, away: Exception) -> str | None:
    """Return why Redis refuses us, or who answers in its place; None for an absence."""
    if isinstance(away, AuthenticationError | NoPermissionError):
        return "Redis refuses the user or password of REDIS_URL"
    if isinstance(away, ResponseError) and "DB index" in str(away):
        return f"Redis has no such database as REDIS_URL names: {away}"
    if place.service is not None and "unknown command" in str(away):
        return "REDIS_URL names sentinels, and leads to a Redis that is none"
    stranger = await _stranger(*place.servers[0], tls=place.ssl is not None)
    under = away.__cause__ or away.__context__  # redis-py raises some from nothing
    if stranger is None and isinstance(under, ssl.SSLCertVerificationError):
        return f"Redis' TLS is not to be believed: {under.reason}"
    return stranger


async def _stranger(host: str, port: int, *, tls: bool) -> str | None:
    """Return who answers there, if it is not what the URL means."""
    plain, postgres, secret = await asyncio.gather(
        _answer(_ask(host, port, b"PING\r\n")),
        _answer(_ask(host, port, _SSL_REQUEST)),
        _answer(_ask(host, port, b"PING\r\n", tls=True)),
    )
    if postgres in _SSL_ANSWERS:
        return "REDIS_URL leads to a PostgreSQL"
    for said, other in ((plain, tls), (secret, not tls)):
        if said and not said.startswith(_OURS):
            first = said.splitlines()[0].decode(errors="backslashreplace")
            return f"REDIS_URL leads to something that is not Redis: it answers {first!r}"
        if said and other:
            how = "without TLS: it is redis://" if tls else "by TLS: it is rediss://"
            return f"REDIS_URL leads to a Redis that is reached {how}"
    return None


async def _ask(host: str, port: int, words: bytes, *, tls: bool = False) -> bytes:
    context = ssl.create_default_context() if tls else None
    if context is not None:
        # Nothing of ours is said: who it is does not matter yet.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(words)
        return await reader.read(_SHOWN)
    finally:
        writer.transport.abort()


async def _answer(asked: Awaitable[bytes]) -> bytes:
    """Return what was answered in time, and nothing where nobody did."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_SOON):
            return await asked
    return b""
