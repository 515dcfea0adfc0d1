"""One answer of the provider, and what can be found in it, whatever its shape.

Its errors are read in `errors.py`; proxies in front of the provider answer in HTML, text and JSON of
their own.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from models.jobs.attempts.evidence import Evidence
from worker.backoff import parse_date, parse_retry_after
from worker.provider import credits as money
from worker.provider.outcomes import Detail, Receipt
from worker.provider.reading import errors, images, remains, words
from worker.provider.reading.images import Found

_DETAILS_MAX = 50
# Where an answer repeats what the caller sent: words there are not the provider's.
_ECHOES = frozenset({"received", "prompt", "revised_prompt", "image_urls", "input", "url"})
_SAID_MAX = 64 * 1024  # characters of one text: what is longer is no message
_EVIDENCE_MAX = 64 * 1024  # bytes: the schema holds no more


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAnswer:
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
            error.get(key) and isinstance(error[key], str) for key in errors.NAMES
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
    def bare_image(self) -> Found | None:
        """The image of a success that is nothing else, or None."""
        return images.bare(self.raw) if self.success and not self.readable else None

    @property
    def paid(self) -> bool:
        """Whether it is a success that names a price above 0: it was paid, whatever else it says."""
        return self.success and bool(self.receipt.credits)

    @property
    def has_words(self) -> bool:
        """Whether it says anything for people."""
        return bool(errors.messages(self.json))

    @property
    def meaning(self) -> words.Meaning | None:
        """What the error inside of a success means, or None."""
        found = errors.listed(self.json)
        if not self.success or not found:
            return None
        return words.meaning(self.codes, self.message, errors.status(found))

    @property
    def codes(self) -> str:
        """What its errors say to programs."""
        return " ".join(text for error in errors.listed(self.json) for text in errors.codes(error))

    @property
    def out_of_money(self) -> bool:
        """Whether its codes, or its words, say that nobody pays for this call."""
        said = words.EMPTY_WALLET.search(self.codes) or words.OUT_OF_MONEY.search(self.message)
        return said is not None

    @property
    def evidence(self) -> Evidence:
        """Its body, bounded, for an operator to look at."""
        kind = self.headers.get("content-type", "")[: errors.ID_MAX] or None
        kind = None if kind is None else errors.clean(kind, errors.ID_MAX)
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
        said = errors.clean("; ".join(errors.messages(self.json)), errors.MESSAGE_MAX)
        return said or f"The provider answered with HTTP status {self.status}."

    @property
    def details(self) -> tuple[Detail, ...]:
        """The provider's field errors."""
        return tuple(errors.details(self.json))[:_DETAILS_MAX]

    def says(self, pattern: re.Pattern[str]) -> bool:
        """Whether the pattern occurs in the body, outside of what only repeats the request."""
        if not self.readable:
            return bool(pattern.search(self.raw[:_SAID_MAX].decode(errors="replace")))
        return any(pattern.search(text[:_SAID_MAX]) for text in _texts(self.json))


def parse(status: int, headers: Mapping[str, str], body: bytes) -> ProviderAnswer:
    """Parse an answer; any bytes will do."""
    readable, content = _loads(body)
    return ProviderAnswer(
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
        inference_id=headers.get("x-inference-id", "")[: errors.ID_MAX] or None,
        request_id=headers.get("x-request-id", "")[: errors.ID_MAX] or None,
        credits=money.told(headers, body),
    )


def _loads(body: bytes) -> tuple[bool, object]:
    try:
        return True, json.loads(body)
    except (ValueError, RecursionError):  # ValueError: bad JSON, bad UTF-8, numbers too long
        return False, None


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
