"""Answers on the wire: whole ones, and the ways in which a connection breaks.

Everything but a whole answer goes around aiohttp to the transport, once the request's body is read.
"""

import asyncio
import gzip
import socket
import struct
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from deploy.simulator.answers.answer import Answer
from deploy.simulator.scenarios.table import Delivery

BADGE = {"x-simulator": "darkroom"}  # on every answer: nobody should mistake this for the provider
_KNOWN = frozenset(int(status) for status in HTTPStatus)
_GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00\xfc\x03\x03 this is not HTTP\r\n\r\n"
_LONG = 64_000  # bytes of one header
_ODD = {
    Delivery.SHORT_BODY,
    Delivery.LOST_TAIL,
    Delivery.LONG_HEADER,
    Delivery.MANY_HEADERS,
    Delivery.ODD_HEADERS,
    Delivery.GZIP,
}
_ODD_LINES = (
    b"x-folded: one\r\n two\r\n\tthree",
    b"x-twice: a\r\nx-twice: a",
    b"server: one\r\nserver: two",
    b"x-latin: caf\xe9",
    b"x-control: a\x01b\x00c",
    b"a line without a colon",
    b": a value without a name",
    b"x-spaced : value",
    b"x na\xefve: value",
    b"upgrade: h2c\r\nconnection: upgrade",
    b"sec-websocket-key1: x",
)


async def deliver(
    request: web.Request, answer: Answer, delivery: Delivery, seconds: float
) -> tuple[web.StreamResponse, int | None]:
    """Send the answer in this way; return what was sent, and its status where a status line was.

    `seconds` is how long a drip takes, or how many more headers there are.
    """
    if delivery is Delivery.WHOLE:
        return whole(answer), answer.status
    if delivery is Delivery.RESET:
        return reset(request), None
    if delivery is Delivery.DRIP:
        await _drip(request, _head_of(answer) + answer.body, seconds)
        return cut(request, b""), answer.status
    if delivery in _ODD:
        return cut(request, _odd(answer, delivery, round(seconds))), answer.status
    raw, status = _broken(answer, delivery)
    return cut(request, raw), status


def whole(answer: Answer) -> web.Response:
    """Make the ordinary response."""
    headers = {"Content-Type": answer.content_type, **answer.headers}
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def reset(request: web.Request) -> web.Response:
    """Cut the connection with a TCP RST: SO_LINGER of 0, then abort."""
    if request.transport is not None:
        link: socket.socket = request.transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


def cut(request: web.Request, raw: bytes) -> web.Response:
    """Send these bytes and close with a FIN; the response given is never sent."""
    if request.transport is not None:
        if raw:
            request.transport.write(raw)
        request.transport.close()
    return web.Response()


def head(
    status: int, content_type: str, length: int, headers: Mapping[str, str] | None = None
) -> bytes:
    """Write the head of an answer by hand."""
    phrase = HTTPStatus(status).phrase if status in _KNOWN else "Unknown"
    fields = {
        "Content-Type": content_type,
        "Content-Length": str(length),
        "Connection": "close",
        **BADGE,
        **(headers or {}),
    }
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {text}" for name, text in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _broken(answer: Answer, delivery: Delivery) -> tuple[bytes, int | None]:
    if delivery is Delivery.GARBAGE:
        return _GARBAGE, None
    if delivery is Delivery.FIN:
        return b"", None
    top = _head_of(answer)
    if delivery is Delivery.HALF_HEADERS:
        return top[: len(top) // 2], answer.status
    return top + answer.body[: len(answer.body) // 2], answer.status


def _odd(answer: Answer, delivery: Delivery, number: int) -> bytes:
    """Write an answer that is whole, in a way that parsers trip over."""
    body, lines, head_ = answer.body, list[bytes](), _head_of(answer)
    match delivery:
        case Delivery.LONG_HEADER:
            lines = [b"x-padding: " + b"x" * _LONG]
        case Delivery.MANY_HEADERS:
            lines = [b"x-number-%d: %d" % (n, n) for n in range(number)]
        case Delivery.ODD_HEADERS:
            lines = list(_ODD_LINES)
        case Delivery.GZIP:
            body, lines = gzip.compress(body), [b"content-encoding: gzip"]
            head_ = head(answer.status, answer.content_type, len(body), answer.headers)
        case Delivery.SHORT_BODY:
            head_ = head(answer.status, answer.content_type, len(body) + 100, answer.headers)
        case Delivery.LOST_TAIL:
            head_ = head(answer.status, answer.content_type, len(body) - 20, answer.headers)
    first, _, rest = head_.partition(b"\r\n")
    return b"\r\n".join([first, *lines, rest]) + body


def _head_of(answer: Answer) -> bytes:
    return head(answer.status, answer.content_type, len(answer.body), answer.headers)


async def _drip(request: web.Request, raw: bytes, seconds: float) -> None:
    for byte in raw:
        if request.transport is None or request.transport.is_closing():
            return
        request.transport.write(bytes((byte,)))
        await asyncio.sleep(seconds / len(raw))
