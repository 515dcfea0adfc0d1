"""Dialects: how the body of one model's paid call is written, out of what every input has.

Darkroom says the same of each model: `image_urls` are its references, a job is one image, and the image is
asked for as a URL, which can be fetched again while keeping it fails. The provider's models do not: their
references stand in `image_urls`, `image_url` or `image`, as a list, as one text, or as either; they count
in `n` or `num_images`; and what comes back is steered by `response_format`, `sync_mode` or
`convert_base64_to_url`. Which of these a model has is in its published schema, so nothing is said twice.

How an answer is read does not depend on the model (`worker/provider/reading/images.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_REFERENCES = ("image_urls", "image_url", "image")
_COUNTS = ("num_images", "n")
# What makes an answer have a URL; the values are ours, whatever a caller would like.
_OUTPUT: Mapping[str, object] = {
    "response_format": "url",
    "convert_base64_to_url": True,
    "sync_mode": False,
}
# Which backend draws it may change what it costs, and nobody publishes the names.
_WITHHELD = frozenset({"provider"})
# In every input, in this order, where the model has them; `response_format` is how we show the image.
_COMMON = ("model", "prompt", "image_urls", "image_size", "response_format", "seed", "watermark")

Writing = Literal["list", "text", "either"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one model's body is written: where references lie and how, and what is always said.

    `references` is None for a model that draws from none, `accepted` are the fields of an input in their
    order, and `own` those of them that not every input has.
    """

    references: str | None
    writing: Writing
    references_max: int
    always: Mapping[str, object]
    accepted: tuple[str, ...]
    own: tuple[str, ...]

    def write(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return the body of the paid call for a checked input whose references were restored."""
        body = {name: value for name, value in given.items() if name not in _OURS}
        urls = given.get("image_urls")
        if isinstance(urls, list) and urls and self.references is not None:
            body[self.references] = self._written(urls)
        return {**body, **self.always}

    def name_of(self, published: str) -> str:
        """Return how an input calls a field of the published schema."""
        return "image_urls" if published == self.references else published

    def _written(self, urls: list[object]) -> object:
        one = self.writing == "text" or (self.writing == "either" and len(urls) == 1)
        return urls[0] if one else urls


_OURS = frozenset({"image_urls", "response_format"})


def dialect_of(fields: Mapping[str, Mapping[str, Any]]) -> Dialect:
    """Read a model's dialect out of the fields of its published schema."""
    references = next((name for name in _REFERENCES if name in fields), None)
    writing, most = _references(fields[references]) if references else ("list", 0)
    counts = {name: 1 for name in _COUNTS if name in fields}
    hidden = {*_REFERENCES, *_COUNTS, *_OUTPUT, *_WITHHELD, *_COMMON}
    own = tuple(name for name in fields if name not in hidden)
    has = {*fields, "response_format", *(["image_urls"] if references else [])}
    return Dialect(
        references=references,
        writing=writing,
        references_max=most,
        always=counts | {name: value for name, value in _OUTPUT.items() if name in fields},
        accepted=(*(name for name in _COMMON if name in has), *own),
        own=own,
    )


def _references(rule: Mapping[str, Any]) -> tuple[Writing, int]:
    """Return how references are written, and how many at most."""
    ways = {each["type"]: each for each in rule.get("anyOf", [rule])}
    if "array" not in ways:
        return "text", 1
    most = int(ways["array"]["maxItems"])
    return ("either", most) if "string" in ways else ("list", most)
