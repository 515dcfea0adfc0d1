"""Where in an answer the image is, whatever the answer's shape.

The schema has `data[0].url` or `.b64_json`. Other models on the same route answer with `images[]`, and
providers behind it with `image`, `image_url`, `output`, `result`, URLs inside of objects, an image under
`url` and a URL under `b64_json`. What is not here, is paid and lost: so all of them are looked at.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from worker import inline, links

_ROOTS = ("data", "images", "image", "image_url", "output", "outputs", "result", "results",
          "artifacts", "b64_json", "url")  # fmt: skip
_INNER = ("url", "image_url", "b64_json", "image", "images", "b64", "base64", "image_base64",
          "uri", "output", "data")  # fmt: skip
_DEEPEST, _LONGEST = 5, 16  # an answer has one image; the rest is for odd wrappings
_SIZE = re.compile(r"[0-9]{1,5}x[0-9]{1,5}")
# A link beside these is to an explanation.
_TROUBLE = ("error", "errors", "message", "detail")
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
    if not isinstance(body, dict):
        return _read(body, _DEEPEST)
    troubled = any(body.get(key) for key in _TROUBLE)
    roots = (key for key in _ROOTS if key != "url" or not troubled)
    return _first(_read(body.get(key), _DEEPEST) for key in roots)


def rescue(raw: bytes) -> Found | None:
    """Return the image of an answer that is no JSON, or was cut off, if its URL came whole."""
    found = _CUT.search(raw)
    if found is None:
        return None
    url = links.tidy(found[1].decode(errors="replace").replace("\\/", "/").replace("\\u0026", "&"))
    return None if url is None else Found(url=url)


def _read(value: object, depth: int) -> Found | None:
    if depth == 0:
        return None
    match value:
        case str():
            if (url := links.tidy(value)) is not None:
                return Found(url=url)
            return Found(b64=value) if inline.is_image(value) else None
        case list():
            return _first(_read(each, depth - 1) for each in value[:_LONGEST])
        case dict():
            return _merged(value, [*_inside(value, depth)])
        case _:
            return None


def _first(found: Iterable[Found | None]) -> Found | None:
    return next((each for each in found if each is not None), None)


def _inside(item: dict[str, object], depth: int) -> Iterator[Found]:
    for key in _INNER:
        found = _read(item.get(key), depth - 1)
        if found is not None:
            yield found


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
