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

from models.evidence import Evidence
from worker.backoff import parse_date, parse_retry_after
from worker.outcomes import Detail, Receipt
from worker.provider import credits as money
from worker.provider import images, remains, words
from worker.provider.images import Found

# Long enough for every message seen, short enough for a row and a log line.
_MESSAGE_MAX = 500
_ID_MAX = 200
_DETAILS_MAX = 50
# Where an answer repeats what the caller sent: words there are not the provider's.
_ECHOES = frozenset({"received", "prompt", "revised_prompt", "image_urls", "input", "url"})
# What names an error in the provider's `error` object.
_NAMES = ("name", "code", "type")
# Where providers behind it put the words for people.
_WORDS = ("message", "msg", "detail", "reason", "description")
_ERROR_STATUSES = range(400, 600)
_EVIDENCE_MAX = 64 * 1024  # bytes: the schema holds no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer taken apart once; `json` is None when `readable` is False, `remains` what is left of it."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    json: object
    readable: bool
    remains: object = None

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
    def image(self) -> Found | None:
        """The image of a success, or None; out of an answer that broke off, if its URL came whole."""
        if not self.success:
            return None
        if self.readable:
            return images.find(self.json)
        return images.find(self.remains) or images.rescue(self.raw)

    @property
    def paid(self) -> bool:
        """Whether it is a success that names a price above 0: it was paid, whatever else it says."""
        return self.success and bool(self.receipt.credits)

    @property
    def has_words(self) -> bool:
        """Whether it says anything for people."""
        return bool(_messages(self.json))

    @property
    def meaning(self) -> words.Meaning | None:
        """What the error inside of a success means, or None."""
        found = _errors(self.json)
        if not self.success or not found:
            return None
        codes = " ".join(text for error in found for text in _codes(error))
        return words.meaning(codes, self.message, _status(found))

    @property
    def evidence(self) -> Evidence:
        """Its body, bounded, for an operator to look at."""
        kind = self.headers.get("content-type", "")[:_ID_MAX] or None
        kind = None if kind is None else _clean(kind, _ID_MAX)
        return Evidence(kind, len(self.raw), self.raw[:_EVIDENCE_MAX])

    @property
    def retry_after(self) -> timedelta | None:
        """How long the answer asks to wait; a date counts from the answer's own `Date`."""
        now = parse_date(self.headers.get("date", "")) or datetime.now(UTC)
        return parse_retry_after(self.headers.get("retry-after"), now)

    @property
    def receipt(self) -> Receipt:
        """What the answer tells about the call."""
        return receipt(self.status, self.headers, self.json if self.readable else self.remains)

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
        remains=None if readable else remains.of(body),
    )


def receipt(status: int, headers: Mapping[str, str], body: object = None) -> Receipt:
    """Read what an answer tells about the call, with or without its body; names in lower case."""
    return Receipt(
        http_status=status,
        inference_id=headers.get("x-inference-id", "")[:_ID_MAX] or None,
        request_id=headers.get("x-request-id", "")[:_ID_MAX] or None,
        credits=money.told(headers, body),
    )


def _loads(body: bytes) -> tuple[bool, object]:
    try:
        return True, json.loads(body)
    except (ValueError, RecursionError):  # ValueError: bad JSON, bad UTF-8, numbers too long
        return False, None


def _errors(body: object) -> list[dict[str, object]]:
    """List the errors of an answer as objects: its own, those of its items, or itself if it is one."""
    if not isinstance(body, dict):
        return []
    given = [body.get("error"), body.get("errors")]
    for name in ("data", "images", "output"):
        items = body.get(name)
        given += [
            each.get("error")
            for each in (items if isinstance(items, list) else [items])
            if isinstance(each, dict)
        ]
    listed: list[dict[str, object]] = []
    for each in (one for some in given for one in (some if isinstance(some, list) else [some])):
        if isinstance(each, str):
            listed.append({"message": each})
        elif isinstance(each, dict) and each:
            listed.append(each)
    bare = "message" in body and any(key in body for key in ("status", "statusCode", *_NAMES))
    return [*listed, body] if listed or bare else []


def _codes(error: dict[str, object]) -> Iterator[str]:
    data = error.get("data")
    kind = data.get("kind") if isinstance(data, dict) else None
    yield from (text for text in (*map(error.get, _NAMES), kind) if isinstance(text, str))


def _status(errors: list[dict[str, object]]) -> int | None:
    """Return the HTTP status that an answer tells beside its own."""
    for error in errors:
        for key in ("statusCode", "status", "code"):
            told = money.whole(error.get(key))
            if told is not None and told in _ERROR_STATUSES:
                return told
    return None


def _messages(body: object) -> list[str]:
    if not isinstance(body, dict):
        return []
    error = body.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    items = [each.get(key) for each in _errors(body) for key in _WORDS]
    for said in (body.get("message"), inner, body.get("detail"), *items, body.get("title")):
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
    for error in _errors(body):
        yield from _of_error(error)


def _of_error(error: dict[str, object]) -> Iterator[Detail]:
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
