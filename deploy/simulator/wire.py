"""Answers on the wire: whole ones, and the ways in which a connection breaks.

Everything but a whole answer goes around aiohttp to the transport, once the request's body is read.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

from deploy.simulator.answers import Answer
from deploy.simulator.scenarios import Delivery

BADGE = {"x-simulator": "darkroom"}  # on every answer: nobody should mistake this for the provider
_KNOWN = frozenset(int(status) for status in HTTPStatus)
_GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00\xfc\x03\x03 this is not HTTP\r\n\r\n"


async def deliver(
    request: web.Request, answer: Answer, delivery: Delivery, seconds: float
) -> tuple[web.StreamResponse, int | None]:
    """Send the answer in the given way; also gives the status line that was sent, if one was.

    `seconds` is how long a drip takes.
    """
    if delivery is Delivery.WHOLE:
        return whole(answer), answer.status
    if delivery is Delivery.RESET:
        return reset(request), None
    if delivery is Delivery.DRIP:
        await _drip(request, _head_of(answer) + answer.body, seconds)
        return cut(request, b""), answer.status
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


def _head_of(answer: Answer) -> bytes:
    return head(answer.status, answer.content_type, len(answer.body), answer.headers)


async def _drip(request: web.Request, raw: bytes, seconds: float) -> None:
    for byte in raw:
        if request.transport is None or request.transport.is_closing():
            return
        request.transport.write(bytes((byte,)))
        await asyncio.sleep(seconds / len(raw))
