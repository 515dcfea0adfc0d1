"""What the provider accepts: its published schemas, read strictly.

Strictly: a field that is not in the schema is refused, and so is an image below the least area,
with the upstream's own words.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import jsonschema

SIZES = {"1.5K": (1536, 1536), "2K": (2048, 2048), "4K": (4096, 4096)}
_LEAST_PIXELS = 3_686_400
_SMALL_MODELS = {"bytedance/seedream-5-0-pro"}  # its schema begins at 1024x1024
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_REFERENCE = re.compile(r"https?://[^\s/]+\S*|data:image/(png|jpeg|webp|bmp|tiff|gif);base64,\S+")


class _Schema(TypedDict):
    properties: dict[str, object]


class RefusedError(Exception):
    """The body breaks the schema; `issues` is what stands in `error.data`."""

    def __init__(self, issues: list[dict[str, object]]) -> None:
        super().__init__("Invalid payload provided")
        self.issues = issues


class TooFewPixelsError(Exception):
    """The size is in the schema's bounds, and yet too small."""


@dataclass(frozen=True)
class Order:
    """What a valid body asks for; the size is in pixels."""

    model: str
    prompt: str
    width: int
    height: int
    seed: int | None
    b64: bool


def read_order(raw: bytes) -> Order:
    """Read the body of a generation; raises `RefusedError` or `TooFewPixelsError`."""
    try:
        body = json.loads(raw)
    except ValueError:
        raise RefusedError([_issue("invalid_json", (), "Body is not valid JSON")]) from None
    if not isinstance(body, dict):
        raise RefusedError([_issue("invalid_type", (), "Expected object")])
    validator = _VALIDATORS.get(str(body.get("model")))
    if validator is None:
        raise RefusedError([_unknown_model(body.get("model"))])
    if issues := [issue for error in validator.iter_errors(body) for issue in _issues(error)]:
        raise RefusedError(issues)
    width, height = _size(body)
    if width * height < _LEAST_PIXELS and body["model"] not in _SMALL_MODELS:
        raise TooFewPixelsError
    b64 = body.get("response_format") == "b64_json"
    return Order(body["model"], body["prompt"], width, height, body.get("seed"), b64)


def client_request_id(headers: Mapping[str, str]) -> str | None:
    """Read `X-Client-Request-Id`; the provider drops an invalid one without a word."""
    written = headers.get("X-Client-Request-Id")
    return written if written and _CLIENT_ID.fullmatch(written) else None


def models() -> list[str]:
    """List the models there are."""
    return list(_VALIDATORS)


def _size(body: Mapping[str, object]) -> tuple[int, int]:
    asked = body.get("image_size")
    if isinstance(asked, dict):
        return int(asked.get("width", 2048)), int(asked.get("height", 2048))
    default = "1.5K" if body["model"] in _SMALL_MODELS else "2K"
    return SIZES[str(asked or default)]


def _issues(error: jsonschema.ValidationError) -> Iterator[dict[str, object]]:
    path, rule = tuple(error.absolute_path), error.validator
    got = error.instance
    match rule:
        case "anyOf":
            branch = 0 if isinstance(got, dict) else 1
            for inner in error.context:
                if inner.schema_path[0] == branch:
                    yield from _issues(inner)
        case "enum":
            allowed = cast("list[object]", error.validator_value)
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
    validators = {}
    # The model that the example request names comes first.
    for file in sorted(Path(__file__).with_name("schemas").glob("*.json"), reverse=True):
        post = json.loads(file.read_bytes())["paths"]["/v1/images/generations"]["post"]
        schema = _strict(post["requestBody"]["content"]["application/json"]["schema"])
        name = str(schema["title"])
        validators[name] = jsonschema.Draft202012Validator(schema, format_checker=formats)
    return dict(sorted(validators.items(), key=lambda pair: "5-0-lite" not in pair[0]))


_VALIDATORS = _load()
