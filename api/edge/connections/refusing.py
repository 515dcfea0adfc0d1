"""What is refused before there is a request: how much a head may be, and the answer, written by hand."""

from starlette.requests import Request
from starlette.types import Scope

from api.edge.problems import problem
from models.errors import HeadersTooLarge, Refusal, UrlTooLong

HEAD_MAX = 32 * 1024  # bytes of a request line and its headers: what balancers pass on
FIELDS_MAX = 128
URL_MAX = 16 * 1024

TOO_LARGE = HeadersTooLarge(
    f"The headers are more than {HEAD_MAX:,} bytes or {FIELDS_MAX} fields; send less."
)


def too_long(url: bytes) -> Refusal:
    """Return why a head is too long: its URL is, or all of it."""
    if len(url) > URL_MAX:
        return UrlTooLong(f"The URL has more than {URL_MAX:,} bytes; send less.")
    return TOO_LARGE


def written(refused: Refusal, url: bytes, app: object) -> bytes:
    """Return a refusal as the bytes of an answer, the last one of its connection."""
    path = url.partition(b"?")[0][:URL_MAX].decode("latin-1")
    scope: Scope = {
        "type": "http", "app": app, "path": path or "/", "query_string": b"", "headers": [],
    }  # fmt: skip
    answer = problem(Request(scope), refused)
    lines = [f"HTTP/1.1 {refused.status} {refused.code}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"connection: close", b"", b""]) + bytes(answer.body)
