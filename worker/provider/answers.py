"""One answer of the provider, and what can be found in it, whatever its shape.

Three shapes of error are in the wild: problem+json with an `error` object, the legacy one with
`statusCode`, and an `error` object alone. Proxies in front of the provider answer in HTML, text
and JSON of their own.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from worker.backoff import parse_date, parse_retry_after
from worker.outcomes import Detail, Receipt
from worker.provider import credits as money

# Long enough for every message seen, short enough for a row and a log line.
_MESSAGE_MAX = 500
_ID_MAX = 200
_DETAILS_MAX = 50
_SIZE = re.compile(r"[0-9]{1,5}x[0-9]{1,5}")
# Where an answer repeats what the caller sent: words there are not the provider's.
_ECHOES = frozenset({"received", "prompt", "revised_prompt", "image_urls", "input", "url"})
# What names an error in the provider's `error` object.
_NAMES = ("name", "code", "type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer taken apart once; `json` is None when `readable` is False."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    json: object
    readable: bool

    @property
    def success(self) -> bool:
        """Whether the status is any 2xx: a framework may well answer a POST with 201."""
        return 200 <= self.status < 300  # noqa: PLR2004 -- the bounds of a status class

    @property
    def own(self) -> bool:
        """Whether the body is the provider's own JSON, and not that of a proxy in front of it."""
        body = self.json
        # Cloudflare's errors are problem+json too, when the request accepts JSON.
        if not isinstance(body, dict) or "cloudflare_error" in body or "ray_id" in body:
            return False
        error = body.get("error")
        named = isinstance(error, dict) and any(
            error.get(key) and isinstance(error[key], str) for key in _NAMES
        )
        return named or ("message" in body and ("statusCode" in body or "status" in body))

    @property
    def retry_after(self) -> timedelta | None:
        """How long the answer asks to wait; a date counts from the answer's own `Date`."""
        now = parse_date(self.headers.get("date", "")) or datetime.now(UTC)
        return parse_retry_after(self.headers.get("retry-after"), now)

    @property
    def receipt(self) -> Receipt:
        """What the answer tells about the call."""
        return receipt(self.status, self.headers, self.json)

    @property
    def message(self) -> str:
        """The provider's own words for people, or a sentence with the status."""
        said = _clean("; ".join(_messages(self.json)), _MESSAGE_MAX)
        return said or f"The provider answered with HTTP status {self.status}."

    @property
    def details(self) -> tuple[Detail, ...]:
        """The provider's field errors."""
        return tuple(_details(self.json))[:_DETAILS_MAX]

    def says(self, pattern: re.Pattern[str]) -> bool:
        """Whether the pattern occurs in the body, outside of what only repeats the request."""
        if not self.readable:
            return bool(pattern.search(self.raw.decode(errors="replace")))
        return any(pattern.search(text) for text in _texts(self.json))


def parse(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Take an answer apart; any bytes will do."""
    readable, content = _loads(body)
    return Answer(
        status=status,
        headers={name.lower(): value for name, value in headers.items()},
        raw=body,
        json=content,
        readable=readable,
    )


def receipt(status: int, headers: Mapping[str, str], body: object = None) -> Receipt:
    """Read what an answer tells about the call, with or without its body; names in lower case."""
    return Receipt(
        http_status=status,
        inference_id=headers.get("x-inference-id", "")[:_ID_MAX] or None,
        request_id=headers.get("x-request-id", "")[:_ID_MAX] or None,
        credits=money.told(headers, body),
    )


def item(body: object) -> dict[str, object] | None:
    """Give `data[0]`, or `images[0]` (seen for other models), if it has an image; else None."""
    lists = [body.get("data"), body.get("images")] if isinstance(body, dict) else []
    firsts = [each[0] for each in lists if isinstance(each, list) and each]
    found = [first for first in firsts if isinstance(first, dict)]
    return next((first for first in found if link(first) or base64(first)), None)


def link(image: dict[str, object]) -> str | None:
    """Give the URL of an image, or None."""
    url = image.get("url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return None
    return url if url.isprintable() else None


def base64(image: dict[str, object]) -> str | None:
    """Give the bytes of an image, still in base 64, or None."""
    encoded = image.get("b64_json")
    return encoded if isinstance(encoded, str) and encoded else None


def size(image: dict[str, object]) -> str | None:
    """Give the size of an image as told (`2048x2048`), or None."""
    told = image.get("size")
    return told if isinstance(told, str) and _SIZE.fullmatch(told) else None


def _loads(body: bytes) -> tuple[bool, object]:
    try:
        return True, json.loads(body)
    except (ValueError, RecursionError):  # ValueError: bad JSON, bad UTF-8, numbers too long
        return False, None


def _messages(body: object) -> list[str]:
    if not isinstance(body, dict):
        return []
    error = body.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    for said in (body.get("message"), inner, body.get("detail"), body.get("title")):
        texts = said if isinstance(said, list) else [said]
        found = [text for text in texts if isinstance(text, str) and text.strip()]
        if found:
            return found
    return []


def _details(body: object) -> Iterator[Detail]:
    if not isinstance(body, dict):
        return
    if isinstance(body.get("message"), list):
        yield from (Detail("", _clean(text, _MESSAGE_MAX)) for text in _messages(body))
    error = body.get("error")
    if not isinstance(error, dict):
        return
    param, message, data = error.get("param"), error.get("message"), error.get("data")
    if param and isinstance(param, str) and isinstance(message, str):
        yield Detail(_clean(param, _ID_MAX), _clean(message, _MESSAGE_MAX))
    for each in data if isinstance(data, list) else []:
        if isinstance(each, dict) and isinstance(each.get("message"), str):
            yield Detail(_path(each.get("path")), _clean(each["message"], _MESSAGE_MAX))


def _path(path: object) -> str:
    steps = path if isinstance(path, list) else [path]
    return _clean(".".join(str(step) for step in steps if isinstance(step, str | int)), _ID_MAX)


def _clean(text: str, length: int) -> str:
    # JSON may hold what a database's text cannot: NUL, and halves of surrogate pairs.
    return text[:length].encode(errors="replace").decode().replace("\0", "")


def _texts(body: object) -> Iterator[str]:
    # A stack, not recursion: the depth is the sender's choice.
    waiting = [body]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case list() as items:
                waiting.extend(items)
            case dict() as fields:
                waiting.extend(value for key, value in fields.items() if key not in _ECHOES)
