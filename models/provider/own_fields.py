"""The fields of an input that only some models have, and bounds that differ, by the published schema.

The rules that the provider publishes are of few words, all in `_WORDS`: any other is an error, so that no
rule is passed by in silence.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from models.errors import FieldError
from models.platform.wording import shown
from models.provider.listing import Model

_BOUNDED = ("prompt", "seed")  # every input has them; how long or how large differs
_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")  # Postgres keeps neither in jsonb
_TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "string": ("a string", (str,)),
    "boolean": ("true or false", (bool,)),
    "integer": ("a whole number", (int,)),
    "number": ("a number", (int, float)),
    "array": ("a list", (list,)),
    "object": ("an object", (dict,)),
}
_WORDS = frozenset({
    "type", "enum", "minimum", "maximum", "minLength", "maxLength", "maxItems", "items", "properties",
    "required", "default", "description", "title", "example", "nullable",
})  # fmt: skip


def check(
    raw: Mapping[str, object], model: Model, at: str, judged: Collection[str]
) -> Iterator[FieldError]:
    """Yield an error for each field that breaks the model's schema, but for those `judged` already."""
    properties: Any = model.schema["properties"]
    for name in sorted(model.required - raw.keys() - {"model", "prompt"}):
        yield FieldError(f"{at}/{name}", f"{name} is required; add it.")
    for name in (*_BOUNDED, *model.own):
        if name not in raw or name not in properties or name in judged:
            continue
        value, place = raw[name], f"{at}/{name}"
        if value is None:
            yield FieldError(place, f"{name} is null; leave the field out instead.")
        elif (bad := _unkeepable(value)) is not None:
            yield FieldError(place, f"{name} has {bad}, which cannot be kept; remove it.")
        else:
            yield from judge(value, properties[name], place)


def judge(value: object, rule: Mapping[str, Any], at: str) -> Iterator[FieldError]:
    """Yield an error for each part of a value that breaks a rule. Raises `ValueError` for words unknown."""
    if unknown := rule.keys() - _WORDS:
        raise ValueError(f"{at}: no rule is known by the words {', '.join(sorted(unknown))}")
    word, types = _TYPES[rule["type"]]
    # A boolean is an integer to Python only.
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        yield FieldError(at, f"{shown(value)} is not {word}.")
    elif "enum" in rule and value not in rule["enum"]:
        yield FieldError(at, f"{shown(value)} is none of {', '.join(map(shown, rule['enum']))}.")
    elif isinstance(value, int | float):
        yield from _judge_number(value, rule, at)
    elif isinstance(value, str | list):
        yield from _judge_length(value, rule, at)
    elif isinstance(value, dict):
        yield from _judge_fields(value, rule, at)


def _judge_number(value: float, rule: Mapping[str, Any], at: str) -> Iterator[FieldError]:
    if value < rule.get("minimum", -math.inf):
        yield FieldError(at, f"{shown(value)} is too small; the least is {rule['minimum']}.")
    if value > rule.get("maximum", math.inf):
        yield FieldError(at, f"{shown(value)} is too large; the most is {rule['maximum']}.")


def _judge_length(
    value: str | list[object], rule: Mapping[str, Any], at: str
) -> Iterator[FieldError]:
    most = rule.get("maxLength" if isinstance(value, str) else "maxItems", math.inf)
    of = "characters" if isinstance(value, str) else "items"
    if len(value) > most:
        yield FieldError(at, f"it has {len(value):,} {of}; this model takes {most:,} at most.")
    elif len(value) < rule.get("minLength", 0):
        yield FieldError(at, f"it has {len(value)} {of}; this model needs {rule['minLength']}.")
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from judge(each, rule["items"], f"{at}/{place}")


def _judge_fields(
    value: Mapping[str, object], rule: Mapping[str, Any], at: str
) -> Iterator[FieldError]:
    fields: Mapping[str, Any] = rule["properties"]
    for name in rule.get("required", ()):
        if name not in value:
            yield FieldError(f"{at}/{name}", f"{name} is required; add it.")
    if unknown := [name for name in value if name not in fields]:
        message = f"there is no field {shown(unknown[0])}; the fields are {', '.join(fields)}."
        yield FieldError(at, message)
    for name, each in fields.items():
        if name in value:
            yield from judge(value[name], each, f"{at}/{name}")


def _unkeepable(value: object) -> str | None:
    """Return what of a JSON value neither Postgres nor the provider could read; None when all is well."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text if _UNKEEPABLE.search(text):
                return "NUL, or half of a surrogate pair"
            case float() as number if not math.isfinite(number):
                return "a number beyond all bounds"
            case list() as items:
                waiting += items
            case dict() as fields:
                waiting += [*fields, *fields.values()]
    return None
