"""The input of a generation: its fields, their types, and the rules that hold for every model.

`SeedreamInput` is the default model's published schema, as people read it in OpenAPI; others have some of
its fields. Their own are judged by their schemas (`own_fields.py`), and what is left by the catalog.
"""

import difflib
import itertools
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    ValidationError,
)
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue, SkipJsonSchema
from pydantic_core import CoreSchema

from models.errors import EgressRefused, FieldError
from models.platform.addresses import ANY_PORT, Network, check_url, opened
from models.platform.wording import pointer_to, printable, shown
from models.provider import own_fields
from models.provider.listing import Model
from models.provider.sizes import ways

AT = "/input"  # where the input stands in the body of a submission
PROMPT_MAX = 32 * 1024  # bytes of UTF-8; upstream recommends 600 words and states no limit
SEED_MIN, SEED_MAX = -(1 << 63), (1 << 63) - 1
URL_MAX = 8192  # characters; signed URLs reach 3,000
UNKNOWN_MAX = 50  # unknown fields that are named: a body may hold a million of them

_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list of URLs",
    "literal_error": '"url" or "b64_json"',
}

# Postgres keeps neither in jsonb, and a lone half of a surrogate pair is not UTF-8.
_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_NOT_IN_URLS = re.compile("[\\s\x00-\x1f\x7f\ud800-\udfff]")
_UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})  # Unicode categories that draw nothing


def _size_kind(value: object) -> str | None:
    pixels = "pixels" if isinstance(value, dict | ImageSize) else None
    return "name" if isinstance(value, str) else pixels


def _describe_seed(schema: JsonDict) -> None:
    schema.pop("default")  # None stands for "left out"; null itself is refused
    schema.update(minimum=SEED_MIN, maximum=SEED_MAX)


class ImageSize(BaseModel):
    """A size in pixels; a side that is left out is 2048."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    width: int = Field(default=2048, json_schema_extra={"minimum": 1440, "maximum": 4096})
    height: int = Field(default=2048, json_schema_extra={"minimum": 1440, "maximum": 4096})


class SeedreamInput(BaseModel):
    """What the provider is asked for; one call makes one image.

    These are the default model's fields. Others lack some and have their own (`rules.input` of
    `GET /v1/models`); what a model does not have is refused.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "additionalProperties": True,
            "examples": [
                {
                    "model": "bytedance/seedream-5-0-lite-preview",
                    "prompt": "A lighthouse in the snow, seen from the sea at dawn.",
                    "image_size": {"width": 2848, "height": 1600},
                    "seed": 7,
                }
            ],
        },
    )

    model: str = Field(
        description="The model's id, one of those that GET /v1/models lists.",
        examples=["bytedance/seedream-5-0-lite-preview"],
    )
    prompt: str = Field(
        description="What the image shows: not blank, at most 32,768 bytes of UTF-8. "
        "Up to 600 English words work best.",
        json_schema_extra={"minLength": 1, "maxLength": PROMPT_MAX},
    )
    image_urls: list[str] = Field(
        default_factory=list,
        description="References: https:// URLs; files, file_…; own images, job_…/images/0; or images "
        "inside the request as data:image/<png|jpeg|webp|bmp|tiff|gif>;base64,… with at most 10 MB and "
        "36 megapixels, each side over 14 pixels, and shapes from 1:16 to 16:1.",
        json_schema_extra={"minItems": 1, "maxItems": 14},
    )
    image_size: Annotated[
        Annotated[ImageSize, Tag("pixels")]
        | Annotated[str, Tag("name"), Field(json_schema_extra={"enum": ["2K", "4K"]})],
        Discriminator(_size_kind),
    ] = Field(
        default_factory=ImageSize,
        description='Width and height in pixels, or "2K" or "4K", whose shape the model chooses. '
        "Width x height must be 3,686,400 to 16,777,216 pixels; 1440x1440 is too small.",
    )
    response_format: Literal["url", "b64_json"] = Field(
        default="url",
        description="How the job shows its image: as a URL, or inline on GET of the one job.",
    )
    seed: int | SkipJsonSchema[None] = Field(
        default=None,
        json_schema_extra=_describe_seed,
        description="A hint for repeatable results; the same image is not promised.",
    )
    watermark: bool = Field(default=False, description="Mark the image as made by a model.")


_SHARED, _SIDES = frozenset(SeedreamInput.model_fields), tuple(ImageSize.model_fields)
_OPTIONAL = {*_SHARED, *_SIDES} - {"model", "prompt"}


class _Documented:
    """Shows `SeedreamInput` in OpenAPI for a field whose value is taken as it came."""

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(SeedreamInput.__pydantic_core_schema__)


# For request schemas: the value reaches `catalog.check` unchanged, which names every error in it.
RawInput = Annotated[object, _Documented()]


def check_fields(raw: Mapping[str, object], model: Model) -> Iterator[FieldError]:
    """Yield an error for each field that is unknown, missing, of a wrong type or of no use to a model.

    No more items of `image_urls` are looked at than it draws from.
    """
    shared = list(_check_shared(raw, model))
    judged = {error.pointer.removeprefix(f"{AT}/").partition("/")[0] for error in shared}
    yield from (*shared, *own_fields.check(raw, model, AT, judged))


def _check_shared(raw: Mapping[str, object], model: Model) -> Iterator[FieldError]:
    yield from _unknown(raw, AT, model.accepted)
    known = {n: v for n, v in raw.items() if n in _SHARED and n in model.accepted}
    if isinstance(size := known.get("image_size"), dict):
        yield from _unknown(size, f"{AT}/image_size", _SIDES)
        known["image_size"] = {name: size[name] for name in _SIDES if name in size}
    if isinstance(urls := known.get("image_urls"), list):
        known["image_urls"] = urls[: model.references_max]
    try:
        SeedreamInput.model_validate(known)
    except ValidationError as refused:
        for error in refused.errors(include_url=False, include_context=False):
            if error["type"] == "none_required":
                continue  # of the seed, which is an integer or left out: said once is enough
            yield _explain(error["type"], error["loc"], error["input"], model)
    yield from _judge(known, model)


def judge_link(url: str, exceptions: Sequence[Network] = ()) -> str | None:  # noqa: PLR0911 - a rule each
    """Return what is wrong with a reference's URL; None when nothing is.

    The provider fetches it, so a literal address must be public. `exceptions` are the networks that the
    operator opened: there plain http will do, as the local stack's simulator serves it.
    """
    if len(url) > URL_MAX:
        return f"the URL has {len(url):,} characters; at most {URL_MAX:,} are taken."
    if found := _NOT_IN_URLS.search(url):
        return f"{shown(url)} has {shown(found[0])} at {found.start()}; percent-encode it."
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading a port judges it
    except ValueError as error:
        return f"{shown(url)} is not a URL ({printable(str(error))}); correct it."
    if parts.scheme != "https" and not (parts.scheme == "http" and exceptions):
        return f"{shown(url)} is no reference; send an https:// URL."
    if not host:
        return f"{shown(url)} names no host; write https://host/path."
    try:
        place = f"{parts.scheme}://{parts.netloc}/"
        target = check_url(place, exceptions=exceptions, ports=ANY_PORT)
    except EgressRefused as refused:
        return refused.detail
    if target.scheme == "http" and not opened(target, exceptions):
        return f"{shown(url)} is plain http; send an https:// URL."
    return None


def _judge(known: Mapping[str, object], model: Model) -> Iterator[FieldError]:
    if isinstance(prompt := known.get("prompt"), str) and (problem := _judge_prompt(prompt)):
        yield FieldError(f"{AT}/prompt", problem)
    if "seed" in known:
        match known["seed"]:
            case None:
                yield _explain("int_type", ("seed",), None, model)
            case int() as seed if not SEED_MIN <= seed <= SEED_MAX:
                rule = f"does not fit 64 bits; use {SEED_MIN} to {SEED_MAX}."
                yield FieldError(f"{AT}/seed", f"{shown(seed)} {rule}")


def _judge_prompt(prompt: str) -> str | None:
    length = len(prompt.encode("utf-8", "surrogatepass"))
    if length > PROMPT_MAX:
        return f"the prompt has {length:,} bytes of UTF-8; at most {PROMPT_MAX:,} are taken."
    if found := _UNKEEPABLE.search(prompt):
        what = "NUL" if found[0] == "\x00" else "half of a surrogate pair"
        return f"the prompt has {what} ({shown(found[0])}) at {found.start()}; remove it."
    if all(unicodedata.category(character) in _UNSEEN for character in prompt):
        return f"{shown(prompt)} is blank; say what the image shows."
    return None


def _unknown(given: Mapping[str, object], at: str, names: Collection[str]) -> Iterator[FieldError]:
    for key in itertools.islice((k for k in given if k not in names), UNKNOWN_MAX):
        name = printable(str(key))
        close = difflib.get_close_matches(name.lower(), names, n=1)
        advice = f'did you mean "{close[0]}"?' if close else f"the fields are {', '.join(names)}."
        yield FieldError(f"{at}{pointer_to(name)}", f'there is no field "{name}"; {advice}')


def _explain(kind: str, loc: tuple[int | str, ...], value: object, model: Model) -> FieldError:
    # The second part of a union's location is the member that was tried, not a part of the body.
    path = (loc[0], *loc[2:]) if loc[0] in {"image_size", "seed"} else loc
    pointer = "/".join([AT, *map(str, path)])
    if kind == "missing":
        return FieldError(pointer, f"{path[-1]} is required; add it.")
    if value is None and path[-1] in _OPTIONAL:
        return FieldError(pointer, f"{path[-1]} is null; leave the field out instead.")
    expected = _EXPECTED.get(kind, f"a size, which is {ways(model)}")
    return FieldError(pointer, f"{shown(value)} is not {expected}.")
