"""What the provider accepts: its published schemas, read strictly.

Strictly: a field that is not in the schema is refused, and so is an image below the least area,
with the upstream's own words.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import TypedDict, cast

import jsonschema

from deploy.simulator import dialects
from deploy.simulator.dialects import Order
from models.provider import catalog

_LEAST_PIXELS = {  # of those of upstream's models that begin at 1920x1920
    "bytedance/seedream-5-0-lite-preview": 3_686_400,
    "bytedance/seedream-4-5": 3_686_400,
}
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_REFERENCE = re.compile(r"https?://[^\s/]+\S*|data:image/(png|jpeg|webp|bmp|tiff|gif);base64,\S+")


_KINDS: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
}  # which way of an `anyOf` is meant


class _Schema(TypedDict):
    properties: dict[str, object]


class RefusedError(Exception):
    """The body breaks the schema; `issues` is what stands in `error.data`."""

    def __init__(self, issues: list[dict[str, object]]) -> None:
        super().__init__("Invalid payload provided")
        self.issues = issues


class TooFewPixelsError(Exception):
    """The size is in the schema's bounds, and yet too small."""


def read_order(raw: bytes) -> Order:
    """Read the body of a generation; raises `RefusedError` or `TooFewPixelsError`."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise RefusedError([_issue("invalid_json", (), "Body is not valid JSON")]) from None
    if not isinstance(body, dict):
        raise RefusedError([_issue("invalid_type", (), "Expected object")])
    name = str(body.get("model"))
    validator = _VALIDATORS.get(name)
    if validator is None:
        raise RefusedError([_unknown_model(body.get("model"))])
    if issues := [issue for error in validator.iter_errors(body) for issue in _issues(error)]:
        raise RefusedError(issues)
    order = dialects.read(body, schema(name))
    if order.width * order.height < _LEAST_PIXELS.get(name, 0):
        raise TooFewPixelsError
    return order


def schema(name: str) -> Mapping[str, object]:
    """Return the published schema of a model's body, by any of its names."""
    model = catalog.find(name)
    assert model is not None  # noqa: S101 - it has a validator
    return model.schema


def client_request_id(headers: Mapping[str, str]) -> str | None:
    """Read `X-Client-Request-Id`; the provider drops an invalid one without a word."""
    written = headers.get("X-Client-Request-Id")
    return written if written and _CLIENT_ID.fullmatch(written) else None


def models() -> list[str]:
    """List the models there are, by the first of their names."""
    return [model.id for model in catalog.models()]


def _issues(error: jsonschema.ValidationError) -> Iterator[dict[str, object]]:
    path, rule, told = tuple(error.absolute_path), error.validator, error.validator_value
    got = error.instance
    match rule:
        case "anyOf":
            yield from _of_the_meant(error)
        case "enum":
            allowed = cast("list[object]", told)
            options = " | ".join(map(repr, allowed))
            message = f"Invalid enum value. Expected {options}, received {got!r}"
            extra = {"received": got, "options": allowed}
            yield {**extra, **_issue("invalid_enum_value", path, message)}
        case "required":
            missing = error.message.split("'")[1]
            yield _issue("invalid_type", (*path, missing), "Required")
        case "additionalProperties":
            known = cast("_Schema", error.schema)["properties"].keys()
            keys = sorted(cast("dict[str, object]", got).keys() - known)
            message = f"Unrecognized key(s) in object: {', '.join(map(repr, keys))}"
            yield {"keys": keys, **_issue("unrecognized_keys", path, message)}
        case "minimum" | "minItems":
            yield _issue("too_small", path, error.message)
        case "maximum" | "maxItems":
            yield _issue("too_big", path, error.message)
        case "format":
            yield _issue("invalid_string", path, "Invalid url")
        case _:
            yield _issue("invalid_type", path, error.message)


def _of_the_meant(error: jsonschema.ValidationError) -> Iterator[dict[str, object]]:
    """Yield the issues of the one branch of an `anyOf` whose type the value has."""
    kind = _KINDS.get(type(error.instance), "string")
    ways = [each.get("type") for each in cast("list[dict[str, object]]", error.validator_value)]
    if kind not in ways:
        yield _issue("invalid_type", tuple(error.absolute_path), error.message)
    for inner in error.context:
        if ways[int(inner.schema_path[0])] == kind:
            yield from _issues(inner)


def _issue(code: str, path: tuple[str | int, ...], message: str) -> dict[str, object]:
    return {"code": code, "path": list(path), "message": message}


def _unknown_model(model: object) -> dict[str, object]:
    options = " | ".join(map(repr, _VALIDATORS))
    message = f"Invalid enum value. Expected {options}, received {model!r}"
    issue = _issue("invalid_enum_value", ("model",), message)
    return {"received": model, "options": list(_VALIDATORS), **issue}


def _strict(schema: dict[str, object]) -> dict[str, object]:
    """Close every object of the schema, at any depth."""
    closed = {name: _close(part) for name, part in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema else closed


def _close(part: object) -> object:
    if isinstance(part, dict):
        return _strict(part)
    return [_close(item) for item in part] if isinstance(part, list) else part


def _is_reference(value: object) -> bool:
    return not isinstance(value, str) or _REFERENCE.fullmatch(value) is not None


def _load() -> dict[str, jsonschema.Draft202012Validator]:
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("uri")(_is_reference)
    return {
        name: jsonschema.Draft202012Validator(_strict(dict(model.schema)), format_checker=formats)
        for model in catalog.models()
        for name in model.names
    }


_VALIDATORS = _load()
