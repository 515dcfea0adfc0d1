"""What is refused before there is a request: how much a head may be, and the answer, written by hand."""

from collections.abc import Sequence

import structlog
from starlette.requests import Request
from starlette.types import Scope

from api.edge.problems import problem
from models.errors import HeadersTooLarge, Refusal, UnknownCoding, UrlTooLong
from models.ids import new, text
from models.platform.wording import shown

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

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


def judge(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Refusal | None:
    """Return why a head that is whole is refused: it is too long, or its body is in an unknown coding."""
    weight = len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
    if weight > HEAD_MAX or len(headers) > FIELDS_MAX or len(url) > URL_MAX:
        return too_long(url)
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and b",".join(codings).strip().lower() != b"chunked":
        coding = shown(b",".join(codings).decode("latin-1"))
        return UnknownCoding(
            f"The body comes with the Transfer-Encoding {coding}; send it chunked alone."
        )
    return None


def written(refused: Refusal, url: bytes, app: object) -> bytes:
    """Return a refusal as the bytes of an answer, the last one of its connection."""
    request_id = text("req", new())
    path = url.partition(b"?")[0][:URL_MAX].decode("latin-1")
    scope: Scope = {
        "type": "http", "app": app, "path": path or "/", "query_string": b"", "headers": [],
        "state": {"request_id": request_id},
    }  # fmt: skip
    answer = problem(Request(scope), refused)
    answer.headers["x-request-id"] = request_id
    log.info("http.refused", request_id=request_id, code=refused.code, detail=refused.detail)
    lines = [f"HTTP/1.1 {refused.status} {refused.code}".encode()]
    lines += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*lines, b"connection: close", b"", b""]) + bytes(answer.body)
