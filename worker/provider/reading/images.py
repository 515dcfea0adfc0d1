"""Where in an answer the image is, whatever the answer's shape.

The rule: an image that is there is seen, for it is paid. The bytes of one are an image wherever they stand.
A URL is one where its name speaks of that, or where it ends as a picture's does. What repeats the request
or speaks of trouble is passed by, and so is what leads elsewhere: to a status, to a smaller picture.

The schema has `data[0].url` or `.b64_json`, and these names go before others. On the same route, behind it
and in its trade there are `images[]`, `output`, `choices[].message.images[].image_url.url`,
`candidates[].content.parts[].inlineData.data`, and JSON, Markdown or HTML inside of a text.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from models.images import formats
from worker.decoding import inline, links

_FIRST = ("data", "images", "image", "image_url", "url", "b64_json", "b64", "base64", "output",
          "outputs", "result", "results", "artifacts", "choices", "candidates", "predictions")  # fmt: skip
_RANKS = {name: rank for rank, name in enumerate(_FIRST)}
_DEEPEST, _LONGEST = 12, 16  # an answer has one image; the rest is for odd wrappings
_SIZE = re.compile(r"[0-9]{1,5}x[0-9]{1,5}")
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")

# Names as they are here: in small letters, with `_` around each word.
_ASIDE = re.compile(
    r"^_(?:args|arguments|config|detail|history|messages|meta|model|options|usage"
    r"|self|next|prev|previous|get|web|poll)_$"
    r"|_(?:input|param|parameter|prompt|request|received|metadata"
    r"|error|warning|doc|support|billing|pricing|terms|policy|license|author|creator|user|owner"
    r"|status|cancel|callback|webhook|hook|thumb|thumbnail|preview|avatar|logo|icon"
    r"|mask|init|control|reference|source|video|audio|schema)s?(?:url|uri)?_"
)
_ELSEWHERE = re.compile(
    r"_(?:response|get|web|self|next|prev|previous|poll|stream|page|home|console|dashboard|account|upgrade"
    r"|api|base|host|site|proxy|upload|delete|logs?|type|id|refs?)_"
)
_SPEAKS = re.compile(
    r"ur[il]|href|src|link|ima?ge?|pic|photo|sample|file|output|result|asset|media|generat|art"
)
_PICTURED = re.compile(r"\.(?:jpe?g|jfif|png|webp|gif|bmp|tiff?)(?:[?#!~@]|$)", re.IGNORECASE)
# A link beside these is to an explanation, unless they only say that all is well.
_TROUBLE = ("error", "errors", "message", "detail")
_WELL = re.compile(
    r"\W*(?:ok|success(?:ful(?:ly)?)?|succeeded|done|completed?|finished)\W*", re.IGNORECASE
)
_IN_TEXT = re.compile(
    r"""(?:!\[[^\[\]]{0,500}\]\(|<img\b[^<>]{0,500}?\bsrc=["'])\s*([^\s"'<>)]+)""", re.IGNORECASE
)
# Of an answer that was cut off: the URL that the schema promises, to its last letter.
_CUT = re.compile(rb'"(?:data|images)"\s*:\s*\[\s*\{[^{}]*?"url"\s*:\s*"(https?:(?:[^"\\]|\\.)+)"')


@dataclass(frozen=True, slots=True)
class Found:
    """An image at `url`, or in `b64`, or both; `size` as told (`2048x2048`), or None."""

    url: str | None = field(default=None, repr=False)
    b64: str | None = field(default=None, repr=False)
    size: str | None = None


def find(body: object) -> Found | None:
    """Return the first image of an answer, or None when it has none."""
    return _find(body, _DEEPEST)


def rescue(raw: bytes) -> Found | None:
    """Return the image of an answer that is no JSON, or was cut off, if its URL came whole."""
    found = _CUT.search(raw)
    url = found and links.tidy(found[1].decode(errors="replace"))
    return Found(url=url) if url else None


def bare(raw: bytes) -> Found | None:
    """Return the image of an answer that is nothing but its bytes, their base 64, or its URL."""
    if formats.sniff(raw) is not None:
        return Found(b64=b64encode(raw).decode())
    text = raw.decode(errors="replace").strip()
    if inline.is_image(text):
        return Found(b64=text)
    url = links.tidy(text) if len(text.split()) == 1 else None
    return None if url is None else Found(url=url)


def _find(body: object, depth: int) -> Found | None:
    if not isinstance(body, dict):
        return _read(body, "image", depth)
    if any(body.get(key) and not _is_well(body[key]) for key in _TROUBLE):
        body = {key: body[key] for key in body if key in _RANKS and key != "url"}
    # Echoed here, they are those that were sent; deeper, there are answers that call their own so.
    parts = ((key, body[key]) for key in _by_rank(body) if key != "image_urls")
    return _first(_read(value, key, depth - 1) for key, value in parts)


def _read(value: object, name: str, depth: int) -> Found | None:
    if depth <= 0 or _ASIDE.search(snake := _snake(name)):
        return None
    match value:
        case str():
            return _text(value, snake, depth)
        case [int(), *_] if (raw := _bytes(value)) is not None:
            return bare(raw)
        case list():
            return _first(_read(each, name, depth - 1) for each in value[:_LONGEST])
        case dict():
            return _merged(value, [*_inside(value, depth)])
        case _:
            return None


def _text(text: str, snake: str, depth: int) -> Found | None:
    if (url := links.tidy(text)) is not None:
        named = _SPEAKS.search(snake) and not _ELSEWHERE.search(snake)
        known = snake.strip("_") in _RANKS
        return Found(url=url) if known or named or _PICTURED.search(url) else None
    if inline.is_image(text):
        return Found(b64=text)
    if depth > 0 and (written := _IN_TEXT.search(text)) is not None:
        return _text(written[1], "_image_", 0)
    if depth <= 0 or text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return _find(json.loads(text), depth - 1)
    except (ValueError, RecursionError):
        return None


def _inside(item: dict[str, object], depth: int) -> Iterator[Found]:
    if "rel" in item:  # a link to something about the answer
        return
    for key in _by_rank(item):
        found = _read(item[key], key, depth - 1)
        if found is not None:
            yield found


def _by_rank(item: dict[str, object]) -> list[str]:
    return sorted(item, key=lambda key: _RANKS.get(_snake(key).strip("_"), len(_RANKS)))


def _bytes(numbers: Iterable[object]) -> bytes | None:
    """Return the bytes that these are: so Node writes a buffer as JSON."""
    try:
        return bytes(each if isinstance(each, int) else -1 for each in numbers)
    except ValueError:
        return None


def _snake(name: str) -> str:
    return f"_{'_'.join(_WORD.findall(name)).lower()}_"


def _is_well(said: object) -> bool:
    return isinstance(said, str) and _WELL.fullmatch(said) is not None


def _first(found: Iterable[Found | None]) -> Found | None:
    return next((each for each in found if each is not None), None)


def _merged(item: dict[str, object], found: list[Found]) -> Found | None:
    if not found:
        return None
    told = item.get("size")
    own = told if isinstance(told, str) and _SIZE.fullmatch(told) else None
    return Found(
        url=next((each.url for each in found if each.url), None),
        b64=next((each.b64 for each in found if each.b64), None),
        size=own or next((each.size for each in found if each.size), None),
    )
